// A message centre made of the npm package "smpp": pushes one long message in two parts (wrong order, one twice), one
// by SAR options, and a delivery receipt for whatever is submitted. Tells on stdout what the gateway did.
const smpp = require('smpp');
const port = +process.argv[2];
const tell = (what) => console.log(JSON.stringify(what));
const header = (reference, total, number) => Buffer.from([5, 0, 3, reference, total, number]);

smpp.createServer({}, (session) => {
  session.on('error', () => {});
  session.on('bind_transceiver', (pdu) => {
    tell({ bind: pdu.system_id, right: pdu.password === 'demo' });
    session.send(pdu.response({ system_id: 'npm', sc_interface_version: 0x34 }));
    if (smpp.used) return; // one of the gateway's links is enough
    smpp.used = true;
    const push = (name, fields) => session.deliver_sm(
      { source_addr: '13900000001', destination_addr: '12110', data_coding: 8, ...fields },
      (answer) => tell({ answered: name, status: answer.command_status }));
    const part = (number, text) => push(`part ${number}`, { esm_class: 0x40,
      short_message: { udh: header(9, 2, number), message: text } });
    part(2, '请快来');
    part(2, '请快来');
    part(1, '有人打架，');
    const sar = (number, text) => push(`sar ${number}`, { source_addr: '13900000002', sar_msg_ref_num: 700,
      sar_total_segments: 2, sar_segment_seqnum: number, short_message: { message: text } });
    sar(1, '楼下');
    sar(2, '着火');
  });
  let count = 0;
  session.on('submit_sm', (pdu) => {
    const id = (0xab00 + ++count).toString();
    tell({ submitted: pdu.destination_addr, text: pdu.short_message.message });
    session.send(pdu.response({ message_id: id }));
    // Vendors name the message in hexadecimal in the receipt and in decimal before.
    session.deliver_sm({ source_addr: pdu.destination_addr, destination_addr: pdu.source_addr, esm_class: 4,
      short_message: { message: `id:${(+id).toString(16)} sub:001 dlvrd:001 submit date:2611221200 done date:2611221201 stat:DELIVRD err:000 text:` } },
      (answer) => tell({ receipted: id, status: answer.command_status }));
  });
  session.on('enquire_link', (pdu) => session.send(pdu.response()));
  session.on('unbind', (pdu) => { session.send(pdu.response()); session.close(); });
}).listen(port, '127.0.0.1', () => tell({ listening: port }));
