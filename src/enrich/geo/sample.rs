//! Small databases in MaxMind's format, for tests: networks with records, written by the format's description (MaxMind
//! DB File Format Specification 2.0), records of 24 bits.

use std::net::IpAddr;

use serde_json::{Value, json};

/// A file of this kind with these networks; of IP version 6 as soon as one network is.
pub(super) fn database(kind: &str, networks: &[(&str, u8, Value)]) -> Vec<u8> {
    let networks: Vec<(IpAddr, u8, &Value)> =
        networks.iter().map(|(ip, prefix, record)| (ip.parse().unwrap(), *prefix, record)).collect();
    let is_v6 = networks.iter().any(|(ip, ..)| ip.is_ipv6());
    let mut nodes = vec![[Slot::Empty; 2]];
    let mut data = Vec::new();
    for (ip, prefix, record) in networks {
        let offset = data.len();
        write(&mut data, record);
        let (bits, length) = bits(ip, prefix, is_v6);
        insert(&mut nodes, bits, length, offset);
    }
    let mut file = Vec::new();
    for slot in nodes.iter().flatten() {
        let number = match slot {
            Slot::Empty => nodes.len(),
            Slot::Node(node) => *node,
            Slot::Data(offset) => nodes.len() + 16 + offset,
        };
        file.extend(&u32::try_from(number).unwrap().to_be_bytes()[1..]);
    }
    file.extend([0; 16]);
    file.extend(data);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    write_metadata(&mut file, kind, if is_v6 { 6 } else { 4 }, u32::try_from(nodes.len()).unwrap());
    file
}

/// The description of the file, where each number has a type of its own.
fn write_metadata(out: &mut Vec<u8>, kind: &str, ip_version: u16, node_count: u32) {
    let (two, four, eight) = (5, 6, 9);
    control(out, 7, 9);
    for (key, number) in [
        ("binary_format_major_version", 2),
        ("binary_format_minor_version", 0),
        ("ip_version", ip_version),
        ("record_size", 24),
    ] {
        write(out, &json!(key));
        control(out, two, 2);
        out.extend(number.to_be_bytes());
    }
    write(out, &json!("node_count"));
    control(out, four, 4);
    out.extend(node_count.to_be_bytes());
    write(out, &json!("build_epoch"));
    control(out, eight, 8);
    out.extend(1_772_439_300_u64.to_be_bytes());
    for (key, value) in
        [("database_type", json!(kind)), ("description", json!({"en": "sample"})), ("languages", json!(["en"]))]
    {
        write(out, &json!(key));
        write(out, &value);
    }
}

#[derive(Clone, Copy)]
enum Slot {
    Empty,
    Node(usize),
    Data(usize),
}

/// The address as bits from the top of a number, and how many of them count.
fn bits(ip: IpAddr, prefix: u8, is_v6: bool) -> (u128, u32) {
    match ip {
        IpAddr::V6(v6) => (u128::from(v6), u32::from(prefix)),
        IpAddr::V4(v4) if is_v6 => (u128::from(u32::from(v4)), 96 + u32::from(prefix)),
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, u32::from(prefix)),
    }
}

fn insert(nodes: &mut Vec<[Slot; 2]>, bits: u128, length: u32, offset: usize) {
    let mut at = 0;
    for depth in 0..length {
        let side = usize::from(bits >> (127 - depth) & 1 == 1);
        if depth + 1 == length {
            nodes[at][side] = Slot::Data(offset);
            return;
        }
        at = match nodes[at][side] {
            Slot::Node(next) => next,
            Slot::Empty | Slot::Data(_) => {
                nodes.push([Slot::Empty; 2]);
                nodes[at][side] = Slot::Node(nodes.len() - 1);
                nodes.len() - 1
            }
        };
    }
}

fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::String(text) => {
            control(out, 2, text.len());
            out.extend(text.as_bytes());
        }
        Value::Number(number) => match number.as_u64() {
            Some(whole) => {
                control(out, 6, 4);
                out.extend(u32::try_from(whole).unwrap().to_be_bytes());
            }
            None => {
                control(out, 3, 8);
                out.extend(number.as_f64().unwrap().to_be_bytes());
            }
        },
        Value::Bool(is) => control(out, 14, usize::from(*is)),
        Value::Array(items) => {
            control(out, 11, items.len());
            items.iter().for_each(|item| write(out, item));
        }
        Value::Object(map) => {
            control(out, 7, map.len());
            for (key, value) in map {
                control(out, 2, key.len());
                out.extend(key.as_bytes());
                write(out, value);
            }
        }
        Value::Null => control(out, 2, 0),
    }
}

/// Type and size; types above 7 take a second byte.
fn control(out: &mut Vec<u8>, kind: u8, size: usize) {
    assert!(size < 29, "longer values are not needed here");
    let size = u8::try_from(size).unwrap();
    if kind > 7 { out.extend([size, kind - 7]) } else { out.push(kind << 5 | size) }
}
