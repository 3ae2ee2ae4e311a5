//! One message in a context: it is read or refused, and what was read can be written and read
//! again without a change.
//!
//! Input: an octet for the context, then the message, header included.

use bgp::wire::{DecodeContext, Message, decode, encode_keepalive, frame_len};
use bytes::BytesMut;

use super::{context, update};

pub(crate) fn run(data: &[u8]) {
    let Some((bits, bytes)) = data.split_first() else { return };
    let ctx = context(*bits);
    let length = match frame_len(bytes, ctx.max_message()) {
        Ok(None) => {
            assert!(bytes.len() < 19, "a whole header tells the length");
            return;
        }
        Ok(Some(length)) => length,
        Err(error) => return refusal_is_sound(&error),
    };
    let Some(frame) = bytes.get(..length) else { return };
    let mut again = BytesMut::new();
    match decode(frame, &ctx) {
        Err(error) => return refusal_is_sound(&error),
        Ok(Message::Update(update)) => return update::check(&update, ctx),
        Ok(Message::Open(open)) => {
            open.encode(&mut again);
            let Ok(Message::Open(same)) = decode(&again, &ctx) else {
                panic!("an OPEN that cannot be read back")
            };
            assert_eq!(open, same);
        }
        Ok(Message::Notification(notification)) => {
            let _ = notification.to_string();
            notification.encode(&mut again);
            let Ok(Message::Notification(same)) = decode(&again, &ctx) else {
                panic!("a NOTIFICATION that is lost")
            };
            assert!(notification.data.starts_with(&same.data));
        }
        Ok(Message::RouteRefresh(refresh)) => {
            if let Some(family) = refresh.known_family() {
                bgp::wire::RouteRefresh::new(family, refresh.subtype).encode(&mut again);
                assert_eq!(decode(&again, &ctx), Ok(Message::RouteRefresh(refresh)));
            }
        }
        Ok(Message::Keepalive) => {
            encode_keepalive(&mut again);
            assert_eq!(again, frame);
        }
    }
    assert!(again.len() <= DecodeContext::default().max_message().max(frame.len()));
}

/// The NOTIFICATION of an error fits into a message.
fn refusal_is_sound(error: &bgp::wire::ProtocolError) {
    let mut out = BytesMut::new();
    error.notification().encode(&mut out);
    let read = decode(&out, &DecodeContext::default());
    assert!(matches!(read, Ok(Message::Notification(_))), "{error}: {read:?}");
    assert!(!error.reason.is_empty());
}
