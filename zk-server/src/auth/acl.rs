//! Checking, repairing and masking access control lists.

use std::collections::BTreeSet;

use zk_proto::{Acl, ErrorCode, Id, Perms, Utf8Bytes};

use super::{AuthConfig, Credentials, digest, ip};

/// Most entries that an ACL may come to when its `auth` entries are expanded: more than fit into any transaction.
const MAX_ENTRIES: usize = 1 << 17;

/// Whether some entry grants some permission of `perm` to these credentials (`ZooKeeperServer.checkACL`).
///
/// An empty list grants everything, as does being super.
#[must_use]
pub fn check(acl: &[Acl], perm: Perms, credentials: &Credentials) -> bool {
    if acl.is_empty() || credentials.passes_all() {
        return true;
    }
    acl.iter().any(|entry| {
        entry.perms.intersects(perm)
            && (is_world(&entry.id)
                || credentials
                    .ids()
                    .iter()
                    .any(|id| id.scheme == entry.id.scheme && id_matches(id, &entry.id)))
    })
}

/// Whether this is `world:anyone`.
pub(crate) fn is_world(id: &Id) -> bool {
    id.scheme == "world" && id.id == "anyone"
}

fn id_matches(id: &Id, entry: &Id) -> bool {
    match id.scheme.as_str() {
        "ip" => ip::matches(&id.id, &entry.id),
        _ => id.id == entry.id,
    }
}

/// Makes of the ACL that a client sent the one that is stored (`PrepRequestProcessor.fixupACL`).
///
/// Duplicates are dropped, and an `auth` entry becomes one entry for each authenticated identity of the client.
///
/// # Errors
/// [`ErrorCode::InvalidAcl`] for an empty list, an unknown scheme, a malformed id, and `auth` from a client that
/// has not authenticated or where it makes the list too long.
pub fn fix_up(
    config: &AuthConfig,
    acl: &[Acl],
    credentials: &Credentials,
) -> Result<Vec<Acl>, ErrorCode> {
    if acl.is_empty() {
        return Err(ErrorCode::InvalidAcl);
    }
    let mut fixed = Vec::with_capacity(acl.len());
    let mut seen = BTreeSet::new();
    for entry in acl {
        let key = (
            entry.perms.0,
            entry.id.scheme.as_str(),
            entry.id.id.as_str(),
        );
        if acl.len() > 1 && !seen.insert(key) {
            continue;
        }
        match entry.id.scheme.as_str() {
            _ if is_world(&entry.id) => fixed.push(entry.clone()),
            "auth" => expand(config, entry.perms, credentials, &mut fixed)?,
            scheme if config.has_scheme(scheme) && is_valid(&entry.id) => fixed.push(entry.clone()),
            _ => return Err(ErrorCode::InvalidAcl),
        }
    }
    Ok(fixed)
}

fn expand(
    config: &AuthConfig,
    perms: Perms,
    credentials: &Credentials,
    fixed: &mut Vec<Acl>,
) -> Result<(), ErrorCode> {
    let before = fixed.len();
    let authenticated = credentials
        .ids()
        .iter()
        // An address proves nothing, and the super user has no provider.
        .filter(|id| id.scheme != "ip" && config.has_scheme(&id.scheme));
    fixed.extend(authenticated.map(|id| Acl {
        perms,
        id: id.clone(),
    }));
    match fixed.len() > before && fixed.len() <= MAX_ENTRIES {
        true => Ok(()),
        false => Err(ErrorCode::InvalidAcl),
    }
}

fn is_valid(id: &Id) -> bool {
    match id.scheme.as_str() {
        "digest" => digest::is_valid(&id.id),
        "ip" => ip::is_valid(&id.id),
        _ => true,
    }
}

/// The ACL as it is shown to a client without ADMIN: `user:x` in place of digest hashes.
#[must_use]
pub fn mask_digests(acl: &[Acl]) -> Vec<Acl> {
    let mask = |entry: &Acl| match entry.id.scheme == "digest" {
        false => entry.clone(),
        true => Acl {
            perms: entry.perms,
            id: Id {
                scheme: entry.id.scheme.clone(),
                id: mask_hash(&entry.id.id),
            },
        },
    };
    acl.iter().map(mask).collect()
}

/// Java's `replaceAll(":.*", ":x")`, in which a dot matches anything but the end of a line.
fn mask_hash(id: &str) -> Utf8Bytes {
    let is_line_end = |c: char| matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mask_line = |line: &str| {
        let end = line.find(is_line_end).unwrap_or(line.len());
        match line[..end].find(':') {
            None => line.to_owned(),
            Some(colon) => format!("{}:x{}", &line[..colon], &line[end..]),
        }
    };
    id.split_inclusive(is_line_end)
        .map(mask_line)
        .collect::<String>()
        .into()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::auth::authenticate;

    fn local() -> Credentials {
        Credentials::of_peer(IpAddr::from([10, 1, 2, 3]), &AuthConfig::default())
    }

    fn alice() -> Credentials {
        authenticate(
            &AuthConfig::default(),
            &local(),
            "digest",
            Some(b"alice:pw"),
        )
        .unwrap()
    }

    fn digest_id(credentials: &Credentials) -> Utf8Bytes {
        credentials.ids()[1].id.clone()
    }

    #[test]
    fn entries_grant_what_they_say() {
        let acl = [
            Acl::new(Perms::READ, "world", "anyone"),
            Acl::new(Perms::WRITE, "ip", "10.1.0.0/16"),
            Acl::new(Perms::ADMIN, "digest", digest_id(&alice())),
        ];
        for (perm, credentials, granted) in [
            (Perms::READ, local(), true),
            (Perms::WRITE, local(), true),
            (Perms::ADMIN, local(), false),
            (Perms::ADMIN, alice(), true),
            (Perms::READ | Perms::ADMIN, local(), true),
            (Perms::DELETE, alice(), false),
            (Perms::READ, Credentials::none(), true),
            (Perms::WRITE, Credentials::none(), false),
        ] {
            assert_eq!(check(&acl, perm, &credentials), granted, "{perm:?}");
        }
        assert!(check(&[], Perms::ADMIN, &Credentials::none()));
    }

    #[test]
    fn skipping_acls_lets_everybody_pass() {
        let config = AuthConfig {
            skip_acl: true,
            ..AuthConfig::default()
        };
        let anybody = Credentials::of_peer(IpAddr::from([1, 1, 1, 1]), &config);
        let acl = [Acl::new(Perms::ALL, "digest", "nobody:x")];
        assert!(check(&acl, Perms::ADMIN, &anybody));
    }

    #[test]
    fn auth_expands_and_duplicates_go() {
        let config = AuthConfig::default();
        let mine = Acl::new(Perms::ALL, "digest", digest_id(&alice()));
        let world = Acl::open().remove(0);
        let sent = [Acl::creator_all().remove(0), world.clone(), world.clone()];
        assert_eq!(fix_up(&config, &sent, &alice()), Ok(vec![mine, world]));
        assert_eq!(
            fix_up(&config, &Acl::creator_all(), &local()),
            Err(ErrorCode::InvalidAcl)
        );
    }

    #[test]
    fn a_list_does_not_grow_without_bound() {
        let config = AuthConfig::default();
        let many = (0..200).fold(local(), |credentials, user| {
            let secret = format!("user{user}:pw");
            authenticate(&config, &credentials, "digest", Some(secret.as_bytes())).unwrap()
        });
        // Each differs from the others, and stands for two hundred entries.
        let auth = |entries: i32| -> Vec<Acl> {
            let entry = |n: i32| Acl::new(Perms::ALL, "auth", n.to_string());
            (0..entries).map(entry).collect()
        };
        assert_eq!(
            fix_up(&config, &auth(3), &many).map(|acl| acl.len()),
            Ok(600)
        );
        assert_eq!(
            fix_up(&config, &auth(10_000), &many),
            Err(ErrorCode::InvalidAcl)
        );
    }

    #[test]
    fn bad_entries_are_refused() {
        let config = AuthConfig::default();
        for (scheme, id) in [
            ("world", "somebody"),
            ("digest", "no-colon"),
            ("ip", "not-an-address"),
            ("super", ""),
            ("sasl", "x"),
            ("", ""),
        ] {
            let acl = [Acl::new(Perms::ALL, scheme, id)];
            assert_eq!(
                fix_up(&config, &acl, &alice()),
                Err(ErrorCode::InvalidAcl),
                "{scheme}:{id}"
            );
        }
        assert_eq!(fix_up(&config, &[], &alice()), Err(ErrorCode::InvalidAcl));
    }

    #[test]
    fn hashes_are_masked() {
        let acl = [
            Acl::new(Perms::READ, "digest", "user:hash:more"),
            Acl::new(Perms::READ, "digest", "a:b\nc:d\ne"),
            Acl::new(Perms::READ, "ip", "::1"),
        ];
        let ids: Vec<_> = mask_digests(&acl)
            .iter()
            .map(|acl| acl.id.id.to_string())
            .collect();
        assert_eq!(ids, ["user:x", "a:x\nc:x\ne", "::1"]);
    }
}
