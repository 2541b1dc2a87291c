//! Batches of datagrams: `recvmmsg` and `sendmmsg` over one socket. The only unsafe code of the workspace.
//!
//! The headers that the kernel wants are made once and used for every call.

#![expect(unsafe_code, reason = "std and mio have no batch calls; the crates that do allocate per call")]

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

/// Datagrams a call of `send`.
const BATCH: usize = 32;
/// Asked for by `widen`; the kernel may give less.
static WIDE: libc::c_int = 4 * 1024 * 1024;

/// Buffers for receiving, and the headers that point at them.
pub struct Receiver {
    buffers: Box<[u8]>,
    size: usize,
    names: Box<[libc::sockaddr_storage]>,
    /// Kept for `heads`, which point at them.
    _parts: Box<[libc::iovec]>,
    heads: Box<[libc::mmsghdr]>,
}

// SAFETY: the pointers in `heads` and `_parts` lead to the other boxes of the same value, which move with it and are
// reached through `&mut self` only.
unsafe impl Send for Receiver {}

impl Receiver {
    /// For `batch` datagrams of at most `size` bytes a call.
    pub fn new(batch: usize, size: usize) -> Receiver {
        let mut buffers = vec![0; batch * size].into_boxed_slice();
        // SAFETY: all-zero bytes are a valid value of these plain C structures.
        let (name, part, head): (libc::sockaddr_storage, libc::iovec, libc::mmsghdr) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed(), std::mem::zeroed()) };
        let mut names = vec![name; batch].into_boxed_slice();
        let mut parts = vec![part; batch].into_boxed_slice();
        let mut heads = vec![head; batch].into_boxed_slice();
        for ((part, buffer), (head, name)) in
            parts.iter_mut().zip(buffers.chunks_mut(size)).zip(heads.iter_mut().zip(&mut names))
        {
            part.iov_base = buffer.as_mut_ptr().cast();
            part.iov_len = size;
            head.msg_hdr.msg_name = (&raw mut *name).cast();
            head.msg_hdr.msg_iov = part;
            head.msg_hdr.msg_iovlen = 1;
        }
        Receiver { buffers, size, names, _parts: parts, heads }
    }

    /// Datagrams a call at most.
    pub fn batch(&self) -> usize {
        self.heads.len()
    }

    /// Reads what is there, at most a batch; hands each datagram to `take`. Returns how many.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there.
    pub fn receive(&mut self, socket: &impl AsRawFd, mut take: impl FnMut(SocketAddr, &[u8])) -> io::Result<usize> {
        for head in &mut self.heads {
            head.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        }
        // SAFETY: every head points at a name, an iovec and a buffer that live as long as `self`, with their true sizes.
        let got = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.heads.as_mut_ptr(),
                self.heads.len() as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        for i in 0..got {
            if let Some(from) = address_of(&self.names[i]) {
                let at = i * self.size;
                take(from, &self.buffers[at..at + self.heads[i].msg_len as usize]);
            }
        }
        Ok(got)
    }
}

/// Sends datagrams in order; returns how many the kernel did not take. Such a one is lost, as the network may lose any.
pub fn send<'a>(socket: &impl AsRawFd, mut datagrams: impl Iterator<Item = (SocketAddr, &'a [u8])>) -> usize {
    // SAFETY: all-zero bytes are a valid value of these plain C structures.
    let mut names: [libc::sockaddr_storage; BATCH] = unsafe { std::mem::zeroed() };
    let mut parts: [libc::iovec; BATCH] = unsafe { std::mem::zeroed() };
    let mut heads: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    let mut lost = 0;
    loop {
        let mut count = 0;
        while count < BATCH
            && let Some((to, bytes)) = datagrams.next()
        {
            let len = write_address(&mut names[count], to);
            parts[count].iov_base = bytes.as_ptr().cast_mut().cast();
            parts[count].iov_len = bytes.len();
            heads[count].msg_hdr.msg_name = (&raw mut names[count]).cast();
            heads[count].msg_hdr.msg_namelen = len;
            heads[count].msg_hdr.msg_iov = &raw mut parts[count];
            heads[count].msg_hdr.msg_iovlen = 1;
            count += 1;
        }
        if count == 0 {
            return lost;
        }
        let mut from = 0;
        while from < count {
            let batch = &mut heads[from..count];
            // SAFETY: as in `receive`; the payloads outlive the call and the kernel only reads them.
            let sent = unsafe {
                libc::sendmmsg(socket.as_raw_fd(), batch.as_mut_ptr(), batch.len() as libc::c_uint, libc::MSG_DONTWAIT)
            };
            // The first that it did not take is given up; the rest goes out.
            match usize::try_from(sent) {
                Ok(sent) if sent > 0 => from += sent,
                _ => {
                    from += 1;
                    lost += 1;
                }
            }
        }
    }
}

/// Asks the kernel for a long receive queue.
pub fn widen(socket: &impl AsRawFd) {
    // SAFETY: the option's value is an int, and so is what the pointer leads to.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            (&raw const WIDE).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
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
        assert_eq!(send(&a, batch.iter().map(|(to, bytes)| (*to, &bytes[..]))), 0);
        let mut receiver = Receiver::new(32, 2048);
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
