//! Batches of datagrams: `recvmmsg` and `sendmmsg` over one socket. The only unsafe code of the workspace.
//!
//! Used for the SIP socket, where one wake-up may find hundreds of messages. Media has a socket a leg, so that a
//! batch there would hold one packet.

#![expect(unsafe_code, reason = "std and mio have no batch calls; the crates that do allocate per call")]

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, RawFd};

/// Datagrams a call.
const BATCH: usize = 32;
/// The largest UDP payload.
const DATAGRAM: usize = 65_535;

/// Buffers for receiving, allocated once.
pub struct Receiver {
    buffers: Box<[[u8; DATAGRAM]]>,
}

impl Default for Receiver {
    fn default() -> Self {
        Receiver { buffers: vec![[0; DATAGRAM]; BATCH].into_boxed_slice() }
    }
}

impl Receiver {
    /// Reads what is there, at most a batch; hands each datagram to `take`. Returns how many.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there.
    pub fn receive(&mut self, socket: &impl AsRawFd, mut take: impl FnMut(SocketAddr, &[u8])) -> io::Result<usize> {
        // SAFETY: all-zero bytes are a valid value of these plain C structures.
        let mut names: [libc::sockaddr_storage; BATCH] = unsafe { std::mem::zeroed() };
        let mut parts: [libc::iovec; BATCH] = unsafe { std::mem::zeroed() };
        let mut heads: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        for i in 0..BATCH {
            parts[i].iov_base = self.buffers[i].as_mut_ptr().cast();
            parts[i].iov_len = DATAGRAM;
            heads[i].msg_hdr.msg_name = (&raw mut names[i]).cast();
            heads[i].msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            heads[i].msg_hdr.msg_iov = &raw mut parts[i];
            heads[i].msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: every head points at a name, an iovec and a buffer that outlive the call, with their true sizes.
        let got = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                heads.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        for i in 0..got {
            if let Some(from) = address_of(&names[i]) {
                take(from, &self.buffers[i][..heads[i].msg_len as usize]);
            }
        }
        Ok(got)
    }
}

/// Sends datagrams in order; returns how many the kernel took before it was full or failed.
///
/// # Errors
/// What the kernel said about the first datagram that it did not take.
pub fn send(socket: &impl AsRawFd, datagrams: &[(SocketAddr, bytes::Bytes)]) -> io::Result<usize> {
    let mut sent = 0;
    for batch in datagrams.chunks(BATCH) {
        sent += send_batch(socket.as_raw_fd(), batch)?;
    }
    Ok(sent)
}

fn send_batch(fd: RawFd, batch: &[(SocketAddr, bytes::Bytes)]) -> io::Result<usize> {
    // SAFETY: all-zero bytes are a valid value of these plain C structures.
    let mut names: [libc::sockaddr_storage; BATCH] = unsafe { std::mem::zeroed() };
    let mut parts: [libc::iovec; BATCH] = unsafe { std::mem::zeroed() };
    let mut heads: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    for (i, (to, bytes)) in batch.iter().enumerate() {
        let len = write_address(&mut names[i], *to);
        parts[i].iov_base = bytes.as_ptr().cast_mut().cast();
        parts[i].iov_len = bytes.len();
        heads[i].msg_hdr.msg_name = (&raw mut names[i]).cast();
        heads[i].msg_hdr.msg_namelen = len;
        heads[i].msg_hdr.msg_iov = &raw mut parts[i];
        heads[i].msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: as in `receive`; the kernel only reads the payload buffers.
    let sent = unsafe { libc::sendmmsg(fd, heads.as_mut_ptr(), batch.len() as libc::c_uint, libc::MSG_DONTWAIT) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

fn address_of(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that this storage holds a sockaddr_in, which is smaller and no more aligned.
            let v4 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for sockaddr_in6.
            let v6 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

fn write_address(storage: &mut libc::sockaddr_storage, to: SocketAddr) -> libc::socklen_t {
    match to {
        SocketAddr::V4(to) => {
            // SAFETY: storage is large and aligned enough for any socket address.
            let v4 = unsafe { &mut *(&raw mut *storage).cast::<libc::sockaddr_in>() };
            v4.sin_family = libc::AF_INET as libc::sa_family_t;
            v4.sin_port = to.port().to_be();
            v4.sin_addr.s_addr = u32::from(*to.ip()).to_be();
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(to) => {
            // SAFETY: as above.
            let v6 = unsafe { &mut *(&raw mut *storage).cast::<libc::sockaddr_in6>() };
            v6.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            v6.sin6_port = to.port().to_be();
            v6.sin6_addr.s6_addr = to.ip().octets();
            v6.sin6_scope_id = to.scope_id();
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_batch_arrives_in_order_with_its_sender() {
        let (a, b) = (UdpSocket::bind("127.0.0.1:0").expect("binds"), UdpSocket::bind("127.0.0.1:0").expect("binds"));
        let to = b.local_addr().expect("bound");
        let batch: Vec<_> = (0..40u8).map(|n| (to, bytes::Bytes::from(vec![n; 3]))).collect();
        assert_eq!(send(&a, &batch).expect("sent"), 40);
        let mut receiver = Receiver::default();
        let mut got = Vec::new();
        while got.len() < 40 {
            receiver.receive(&b, |from, bytes| got.push((from, bytes.to_vec()))).expect("loopback delivers at once");
        }
        assert!(
            got.iter()
                .enumerate()
                .all(|(n, (from, bytes))| *from == a.local_addr().expect("bound") && *bytes == [n as u8; 3])
        );
        assert!(receiver.receive(&b, |_, _| {}).is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock));
    }
}
