//! The scheme `ip`: addresses and CIDR blocks, read as leniently or strictly as Apache reads them.

use std::net::IpAddr;

/// An address as Java prints it: IPv6 in eight groups without `::`, mapped IPv4 as IPv4.
pub(super) fn host_address(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let groups: Vec<_> = v6.segments().iter().map(|g| format!("{g:x}")).collect();
            groups.join(":")
        }
    }
}

/// Whether an ip id in an ACL is well formed: an address, and perhaps `/bits`.
pub(super) fn is_valid(id: &str) -> bool {
    Block::parse(id).is_some()
}

/// Whether a client's address is in the block that an ACL names.
pub(super) fn matches(address: &str, block: &str) -> bool {
    let (Some(block), Some(address)) = (Block::parse(block), parse_address(address)) else {
        return false;
    };
    block.contains(&address)
}

/// The bytes of an address; their number tells IPv4 from IPv6.
type Octets = Vec<u8>;

struct Block {
    address: Octets,
    bits: usize,
}

impl Block {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, bits)) => (address, Some(bits.parse::<i32>().ok()?)),
        };
        let address = parse_address(address)?;
        let all = address.len() * 8;
        let bits = match bits {
            None => all,
            Some(bits) => usize::try_from(bits).ok().filter(|bits| *bits <= all)?,
        };
        Some(Self { address, bits })
    }

    fn contains(&self, address: &Octets) -> bool {
        if self.address.len() != address.len() {
            return false;
        }
        let (whole, rest) = (self.bits / 8, self.bits % 8);
        let mask = !(0xff_u8 >> rest);
        self.address[..whole] == address[..whole]
            && (rest == 0 || self.address[whole] & mask == address[whole] & mask)
    }
}

fn parse_address(text: &str) -> Option<Octets> {
    match text.contains(':') {
        true => parse_v6(text),
        false => parse_v4(text),
    }
}

/// Four decimal numbers; `+1` and leading zeros pass, as in Java.
fn parse_v4(text: &str) -> Option<Octets> {
    let octets: Vec<u8> = text
        .split('.')
        .map(|part| u8::try_from(part.parse::<i32>().ok()?).ok())
        .collect::<Option<_>>()?;
    (octets.len() == 4).then_some(octets)
}

/// Eight groups of up to four hex digits, or fewer around one `::`.
fn parse_v6(text: &str) -> Option<Octets> {
    let (head, tail) = match text.split_once("::") {
        None => (groups(text)?, Vec::new()),
        Some((_, tail)) if tail.contains("::") => return None,
        Some((head, tail)) => (groups(head)?, groups(tail)?),
    };
    let given = head.len() + tail.len();
    let missing = match text.contains("::") {
        true => 16_usize.checked_sub(given).filter(|left| *left > 0)?,
        false => (given == 16).then_some(0)?,
    };
    let mut octets = head;
    octets.resize(octets.len() + missing, 0);
    octets.extend(tail);
    Some(octets)
}

fn groups(text: &str) -> Option<Octets> {
    if text.is_empty() {
        return Some(Octets::new());
    }
    let mut octets = Octets::new();
    for group in text.split(':') {
        if group.is_empty() || group.len() > 4 {
            return None;
        }
        let value = i32::from_str_radix(group, 16).ok()?;
        let value = u16::try_from(value).ok()?;
        octets.extend(value.to_be_bytes());
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_contain_their_addresses() {
        for (address, block, inside) in [
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("10.1.2.3", "10.1.0.0/16", true),
            ("10.2.2.3", "10.1.0.0/16", false),
            ("10.1.2.3", "0.0.0.0/0", true),
            ("10.1.2.129", "10.1.2.128/25", true),
            ("10.1.2.127", "10.1.2.128/25", false),
            ("10.1.2.3", "10.1.2.3/32", true),
            ("10.1.2.3", "10.1.2.3/33", false),
            ("0:0:0:0:0:0:0:1", "::1", true),
            ("0:0:0:0:0:0:0:1", "::/0", true),
            ("fe80:0:0:0:0:0:0:1", "fe80::/10", true),
            ("fec0:0:0:0:0:0:0:1", "fe80::/10", false),
            ("127.0.0.1", "::/0", false),
            ("0:0:0:0:0:0:0:1", "0.0.0.0/0", false),
        ] {
            assert_eq!(matches(address, block), inside, "{address} in {block}");
        }
    }

    #[test]
    fn ids_are_valid_as_apache_says() {
        for (id, valid) in [
            ("1.2.3.4", true),
            ("1.2.3.4/8", true),
            ("1.2.3.4/-1", false),
            ("1.2.3.4/33", false),
            ("1.2.3.4/", false),
            ("1.2.3.4/8/9", false),
            ("1.2.3", false),
            ("1.2.3.4.", false),
            ("1.2.3.256", false),
            ("host", false),
            ("", false),
            ("::", true),
            ("::1/128", true),
            ("::1/129", false),
            ("1:2:3:4:5:6:7:8", true),
            ("1:2:3:4:5:6:7", false),
            ("1::2::3", false),
            ("1:2:3:4:5:6:7::8", false),
            ("1:2:3:4:5:6::8", true),
            ("12345::", false),
            ("g::", false),
        ] {
            assert_eq!(is_valid(id), valid, "{id:?}");
        }
    }

    #[test]
    fn addresses_are_printed_as_java_prints_them() {
        for (address, text) in [
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "0:0:0:0:0:0:0:1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("fe80::a:b", "fe80:0:0:0:0:0:a:b"),
        ] {
            assert_eq!(host_address(address.parse().unwrap()), text);
        }
    }
}
