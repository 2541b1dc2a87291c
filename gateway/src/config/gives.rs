//! What a sink gives of the record.

use codecs::record::AlertRecord;
use serde_json::Value;

/// Those names of parts that no record has.
pub(super) fn unknown_parts(fields: &[String]) -> Vec<&String> {
    let schema = schemars::schema_for!(AlertRecord).to_value();
    fields.iter().filter(|field| !is_part(&schema, &schema, field)).collect()
}

/// Whether a record may have this part.
fn is_part(schema: &Value, root: &Value, field: &str) -> bool {
    let Some(name) = schema.get("$ref").and_then(Value::as_str) else {
        let deeper = ["items", "anyOf", "allOf", "oneOf"].into_iter().filter_map(|key| schema.get(key));
        let mut deeper = deeper.flat_map(|v| v.as_array().cloned().unwrap_or_else(|| vec![v.clone()]));
        let (first, rest) = field.split_once('.').map_or((field, None), |(first, rest)| (first, Some(rest)));
        let found = schema.get("properties").and_then(|all| all.get(first));
        return match (found, rest) {
            (Some(_), None) => true,
            (Some(found), Some(rest)) => is_part(found, root, rest),
            (None, _) => deeper.any(|inner| is_part(&inner, root, field)),
        };
    };
    let path = name.trim_start_matches('#');
    root.pointer(path).is_some_and(|found| is_part(found, root, field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_no_record_has_are_found() {
        let fields = ["incident", "reporter.phone", "text.body", "incidents", "reporter.shoe", "call.t.arrive"];
        let fields: Vec<String> = fields.map(str::to_owned).into();
        assert_eq!(unknown_parts(&fields), ["incidents", "reporter.shoe"]);
    }
}
