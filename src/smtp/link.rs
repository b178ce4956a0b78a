//! One byte stream to a client, in the clear or under TLS.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::tls::{Acceptor, TlsStream};

/// What is read at one time.
const READ_BYTES_MAX: usize = 32 * 1024;
/// A TLS handshake takes no longer.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// After our last word, what the client still sends is read away for so long and so far: closing on unread input would
/// reset the connection, and take our last word from the client.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(2);
const FAREWELL_BYTES_MAX: usize = 1 << 20;

/// One byte stream to a client.
pub(super) enum Link {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Link {
    /// Reads what there is, as far as it fits into [`READ_BYTES_MAX`]; 0 is the end. Cancelling it loses nothing.
    ///
    /// The room for it is on the stack: whoever waits holds no memory for what may come.
    pub async fn read(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        poll_fn(|context| {
            let mut room = [const { MaybeUninit::uninit() }; READ_BYTES_MAX];
            let mut room = ReadBuf::uninit(&mut room);
            ready!(match self {
                Link::Plain(stream) => Pin::new(stream).poll_read(context, &mut room),
                Link::Tls(stream) => Pin::new(&mut **stream).poll_read(context, &mut room),
            })?;
            into.extend_from_slice(room.filled());
            Poll::Ready(Ok(room.filled().len()))
        })
        .await
    }

    /// Writes all of it.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Link::Plain(stream) => stream.write_all(bytes).await,
            Link::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    /// TLS version and cipher, for `Received`; empty in the clear.
    pub fn tls_facts(&self) -> String {
        match self {
            Link::Plain(_) => String::new(),
            Link::Tls(stream) => crate::tls::facts(stream),
        }
    }

    /// Shakes hands. The stream is gone if that fails: nothing may be said in the clear any more.
    pub async fn secure(self, acceptor: &Acceptor) -> io::Result<Link> {
        match self {
            Link::Plain(stream) => {
                let secured = timeout(HANDSHAKE_TIME_MAX, acceptor.accept(stream)).await??;
                Ok(Link::Tls(Box::new(secured)))
            }
            Link::Tls(_) => Err(io::Error::other("TLS is on already")),
        }
    }

    /// Ends it so that the client gets our last word.
    pub async fn farewell(mut self) {
        let ended = async {
            match &mut self {
                Link::Plain(stream) => stream.shutdown().await?,
                Link::Tls(stream) => stream.shutdown().await?,
            }
            let (mut waste, mut read) = (BytesMut::new(), 0);
            while read < FAREWELL_BYTES_MAX {
                waste.clear();
                match self.read(&mut waste).await? {
                    0 => break,
                    more => read += more,
                }
            }
            Ok::<(), io::Error>(())
        };
        // Whoever has not gone by then, or went in anger, is left behind.
        let _ = timeout(FAREWELL_TIME_MAX, ended).await;
    }
}
