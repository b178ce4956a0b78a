//! One byte stream to a client, in the clear or under TLS.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::tls::{Acceptor, TlsStream};

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
    /// Reads what there is; 0 is the end. Cancelling it loses nothing.
    pub async fn read(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        match self {
            Link::Plain(stream) => stream.read_buf(into).await,
            Link::Tls(stream) => stream.read_buf(into).await,
        }
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
            let (mut waste, mut read) = (BytesMut::with_capacity(4 * 1024), 0);
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
