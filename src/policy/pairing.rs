//! Whether a verified device may come in as it is, is let in silently, or waits for an operator; which token it
//! gets; who may rotate what (protocol 2.6 and 12, DECISIONS 34-35, LESSONS R4 and R12).

use serde_json::json;

use super::device::PairedDevice;
use crate::protocol::connect::{Client, Refusal};
use crate::protocol::methods::missing_scope;
use crate::protocol::roles::{Role, Scopes};
use crate::protocol::{ErrorCode, ErrorShape};

/// Why a device is not simply let in; `reason` of the error details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairingReason {
    NotPaired,
    MetadataUpgrade,
    RoleUpgrade,
    ScopeUpgrade,
}

impl PairingReason {
    pub fn name(self) -> &'static str {
        match self {
            PairingReason::NotPaired => "not-paired",
            PairingReason::MetadataUpgrade => "metadata-upgrade",
            PairingReason::RoleUpgrade => "role-upgrade",
            PairingReason::ScopeUpgrade => "scope-upgrade",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// No device, or one that needs none here: nothing is written, no token is made (one that exists is returned).
    Skipped,
    Paired,
    /// Approve at once, tell operators, go on.
    Silent(PairingReason),
    /// Make or refresh the request, then refuse with [`refuse`].
    Needed(PairingReason),
}

#[derive(Clone, Copy)]
pub struct PairingFacts<'a> {
    pub paired: Option<PairedDevice<'a>>,
    /// The verified one, base64url.
    pub public_key: &'a str,
    pub client: &'a Client,
    pub role: Role,
    pub asked: &'a Scopes,
    pub local_direct: bool,
    pub has_origin: bool,
    /// A backend client of this machine with the shared secret, a Control UI without device auth or behind a
    /// trusted proxy.
    pub may_skip: bool,
    /// It showed a setup code that is good for this.
    pub by_setup_code: bool,
}

pub fn decide(facts: &PairingFacts) -> Pairing {
    if facts.may_skip {
        return Pairing::Skipped;
    }
    let Some(reason) = missing(facts) else { return Pairing::Paired };
    // A page may pair silently only as one of the user interfaces, and never to become a node.
    let interface = (facts.client.is_control_ui() || facts.client.is_webchat()) && facts.role == Role::Operator;
    let small = matches!(reason, PairingReason::NotPaired | PairingReason::ScopeUpgrade);
    // A new phone: who made the code has decided. What a known device lacks is another decision.
    let phone = facts.by_setup_code
        && facts.paired.is_none()
        && facts.role == Role::Node
        && facts.asked.is_empty()
        && !facts.has_origin;
    if phone || facts.local_direct && small && (!facts.has_origin || interface) {
        Pairing::Silent(reason)
    } else {
        Pairing::Needed(reason)
    }
}

/// What a device lacks to come in as it is.
fn missing(facts: &PairingFacts) -> Option<PairingReason> {
    let Some(paired) = facts.paired.filter(|paired| paired.public_key == facts.public_key) else {
        return Some(PairingReason::NotPaired);
    };
    let differs = |pinned: Option<&str>, said: Option<&str>| {
        let plain = |text: Option<&str>| text.unwrap_or_default().trim().to_lowercase();
        !plain(pinned).is_empty() && plain(pinned) != plain(said)
    };
    if differs(paired.platform, Some(&facts.client.platform))
        || differs(paired.device_family, facts.client.device_family.as_deref())
    {
        return Some(PairingReason::MetadataUpgrade);
    }
    if !paired.has_role(facts.role.name()) {
        return Some(PairingReason::RoleUpgrade);
    }
    (!paired.scopes.covers_all(facts.asked)).then_some(PairingReason::ScopeUpgrade)
}

/// `pairing required`, with the id of the pending request.
pub fn refuse(request_id: &str, reason: PairingReason) -> Refusal {
    let details = json!({"code": "PAIRING_REQUIRED", "requestId": request_id, "reason": reason.name()});
    Refusal::policy(ErrorShape::new(ErrorCode::NotPaired, "pairing required").details(details))
}

#[derive(Clone, Debug, PartialEq)]
pub enum TokenRule {
    /// The role was never approved, or the scopes exceed what was.
    None,
    /// The one there is.
    Keep,
    /// A new one with these scopes, sorted.
    Issue(Scopes),
}

/// Which token a device gets on connect (after pairing).
pub fn token_on_connect(device: &PairedDevice, role: Role, asked: &Scopes) -> TokenRule {
    if !device.has_role(role.name()) || !device.scopes.covers_all(asked) {
        return TokenRule::None;
    }
    let valid = device
        .token
        .is_some_and(|held| !held.revoked && device.scopes.covers_all(held.scopes) && held.scopes.covers_all(asked));
    if valid { TokenRule::Keep } else { TokenRule::Issue(asked.sorted()) }
}

/// The scopes of a rotated token, sorted, or why not. `asked` None: those of the present token, else the baseline.
/// `device.token` is that of `role`; the caller must hold what the new token will be worth.
pub fn scopes_for_rotation(
    device: Option<&PairedDevice>,
    role: &str,
    asked: Option<&Scopes>,
    caller: &Scopes,
    protocol: u32,
) -> Result<Scopes, ErrorShape> {
    let unknown = || ErrorShape::invalid("unknown deviceId/role");
    let role = role.trim();
    let device = device.filter(|device| device.has_role(role)).ok_or_else(unknown)?;
    let scopes = asked.or(device.token.map(|held| held.scopes)).unwrap_or(device.scopes);
    if let Some(missing) = scopes.iter().find(|scope| !caller.covers(scope)) {
        return Err(missing_scope(missing, protocol));
    }
    if !device.scopes.covers_all(scopes) {
        return Err(unknown());
    }
    Ok(scopes.sorted())
}

/// Whether an operator may approve a request for these scopes: nobody hands out what he does not hold.
pub fn may_approve(requested: &Scopes, caller: &Scopes, protocol: u32) -> Result<(), ErrorShape> {
    match requested.iter().find(|scope| !caller.covers(scope)) {
        Some(missing) => Err(missing_scope(missing, protocol)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::device::TokenView;
    use super::*;
    use crate::protocol::roles::{ADMIN, PAIRING, READ, WRITE};
    use crate::secret::Secret;

    struct Held {
        roles: Vec<String>,
        scopes: Scopes,
        token: Secret,
        token_scopes: Scopes,
        revoked: bool,
    }

    impl Held {
        fn new(scopes: &[&str]) -> Held {
            Held {
                roles: vec!["operator".into()],
                scopes: Scopes::new(scopes),
                token: Secret::new("t"),
                token_scopes: Scopes::new(scopes),
                revoked: false,
            }
        }

        fn view(&self) -> PairedDevice<'_> {
            PairedDevice {
                public_key: "key",
                roles: &self.roles,
                scopes: &self.scopes,
                platform: Some("Linux"),
                device_family: None,
                token: Some(TokenView { token: &self.token, scopes: &self.token_scopes, revoked: self.revoked }),
            }
        }
    }

    fn client(id: &str, mode: &str, platform: &str) -> Client {
        Client { id: id.into(), mode: mode.into(), platform: platform.into(), ..Client::default() }
    }

    #[test]
    fn who_gets_in() {
        let held = Held::new(&[WRITE]);
        let (known, android) = (client("test", "test", " LINUX"), client("test", "test", "android"));
        let (ui, webchat) =
            (client("openclaw-control-ui", "webchat", "linux"), client("webchat-ui", "webchat", "linux"));
        let (read, admin) = (Scopes::new([READ]), Scopes::new([ADMIN]));
        let base = PairingFacts {
            paired: Some(held.view()),
            public_key: "key",
            client: &known,
            role: Role::Operator,
            asked: &read,
            local_direct: false,
            has_origin: false,
            may_skip: false,
            by_setup_code: false,
        };
        let phone = PairingFacts { paired: None, role: Role::Node, asked: &Scopes::NONE, by_setup_code: true, ..base };
        let new = PairingFacts { paired: None, ..base };
        use Pairing::*;
        use PairingReason::*;
        for (case, facts, verdict) in [
            ("known", base, Paired),
            ("new, far", new, Needed(NotPaired)),
            ("new, here", PairingFacts { local_direct: true, ..new }, Silent(NotPaired)),
            ("new node, here", PairingFacts { local_direct: true, role: Role::Node, ..new }, Silent(NotPaired)),
            ("new, here, a page", PairingFacts { local_direct: true, has_origin: true, ..new }, Needed(NotPaired)),
            (
                "new, here, our page",
                PairingFacts { local_direct: true, has_origin: true, client: &ui, ..new },
                Silent(NotPaired),
            ),
            (
                "new, here, web chat",
                PairingFacts { local_direct: true, has_origin: true, client: &webchat, ..new },
                Silent(NotPaired),
            ),
            (
                "our page as node",
                PairingFacts { local_direct: true, has_origin: true, client: &ui, role: Role::Node, ..new },
                Needed(NotPaired),
            ),
            ("our page, far", PairingFacts { has_origin: true, client: &ui, ..new }, Needed(NotPaired)),
            ("other key", PairingFacts { public_key: "other", ..base }, Needed(NotPaired)),
            ("more scopes", PairingFacts { asked: &admin, ..base }, Needed(ScopeUpgrade)),
            ("more scopes, here", PairingFacts { asked: &admin, local_direct: true, ..base }, Silent(ScopeUpgrade)),
            ("other role", PairingFacts { role: Role::Node, ..base }, Needed(RoleUpgrade)),
            (
                "other role, here",
                PairingFacts { role: Role::Node, local_direct: true, asked: &admin, ..base },
                Needed(RoleUpgrade),
            ),
            (
                "other platform, here",
                PairingFacts { client: &android, role: Role::Node, local_direct: true, ..base },
                Needed(MetadataUpgrade),
            ),
            ("a phone with a code", phone, Silent(NotPaired)),
            ("a phone without", PairingFacts { by_setup_code: false, ..phone }, Needed(NotPaired)),
            ("a page with a code", PairingFacts { has_origin: true, ..phone }, Needed(NotPaired)),
            (
                "an operator with a code",
                PairingFacts { role: Role::Operator, asked: &read, ..phone },
                Needed(NotPaired),
            ),
            ("a known device with a code", PairingFacts { paired: base.paired, ..phone }, Needed(RoleUpgrade)),
            ("another device's key", PairingFacts { paired: base.paired, public_key: "x", ..phone }, Needed(NotPaired)),
            ("skipped", PairingFacts { may_skip: true, asked: &admin, ..new }, Skipped),
        ] {
            assert_eq!(decide(&facts), verdict, "{case}");
        }
        let pinned = PairedDevice { device_family: Some("RasPi"), ..held.view() };
        let family = PairingFacts { paired: Some(pinned), ..base };
        assert_eq!(decide(&family), Needed(MetadataUpgrade), "a family that is no longer told");
        let said = Client { device_family: Some("raspi".into()), ..known.clone() };
        assert_eq!(decide(&PairingFacts { client: &said, ..family }), Paired);
    }

    #[test]
    fn the_refusal_as_recorded() {
        let refusal = refuse("e42bb344", PairingReason::NotPaired);
        assert_eq!(
            serde_json::to_value(refusal.error.unwrap()).unwrap(),
            json!({"code":"NOT_PAIRED","message":"pairing required",
                   "details":{"code":"PAIRING_REQUIRED","requestId":"e42bb344","reason":"not-paired"}})
        );
        assert_eq!((refusal.close_code, refusal.close_reason.as_str()), (1008, "pairing required"));
    }

    #[test]
    fn tokens_on_connect() {
        let read = Scopes::new([READ]);
        let both = Scopes::new([WRITE, READ]);
        let admin = Scopes::new([ADMIN]);
        for (case, change, role, asked, rule) in [
            ("valid", None, Role::Operator, &read, TokenRule::Keep),
            ("no role", None, Role::Node, &read, TokenRule::None),
            ("beyond the baseline", None, Role::Operator, &admin, TokenRule::None),
            ("revoked", Some("revoked"), Role::Operator, &both, TokenRule::Issue(Scopes::new([READ, WRITE]))),
            ("too small", Some("small"), Role::Operator, &both, TokenRule::Issue(Scopes::new([READ, WRITE]))),
            ("too large", Some("large"), Role::Operator, &read, TokenRule::Issue(Scopes::new([READ]))),
        ] {
            let mut held = Held::new(&[WRITE]);
            match change {
                Some("revoked") => held.revoked = true,
                Some("small") => held.token_scopes = read.clone(),
                Some("large") => held.token_scopes = admin.clone(),
                _ => {}
            }
            assert_eq!(token_on_connect(&held.view(), role, asked), rule, "{case}");
        }
        let held = Held::new(&[READ]);
        let none = PairedDevice { token: None, ..held.view() };
        assert_eq!(token_on_connect(&none, Role::Operator, &read), TokenRule::Issue(read.clone()));
    }

    #[test]
    fn rotations() {
        let held = Held::new(&[WRITE, READ]);
        let view = held.view();
        let bare = PairedDevice { token: None, ..view };
        let admin = Scopes::new([ADMIN]);
        let reader = Scopes::new([READ, PAIRING]);
        let sorted = || Ok(Scopes::new([READ, WRITE]).as_slice().to_vec());
        let unknown = || Err("unknown deviceId/role".to_owned());
        for (case, device, role, asked, caller, verdict) in [
            ("as it is", Some(&view), "operator", None, &admin, sorted()),
            ("from the baseline", Some(&bare), " operator ", None, &admin, sorted()),
            ("fewer", Some(&view), "operator", Some(Scopes::new([READ])), &reader, Ok(vec![READ.to_owned()])),
            ("nobody", None, "operator", None, &admin, unknown()),
            ("never approved role", Some(&view), "node", None, &admin, unknown()),
            ("beyond the baseline", Some(&view), "operator", Some(admin.clone()), &admin, unknown()),
            ("beyond the caller", Some(&view), "operator", None, &reader, Err("missing scope: operator.write".into())),
        ] {
            let result = scopes_for_rotation(device, role, asked.as_ref(), caller, 3);
            assert_eq!(result.map(|s| s.as_slice().to_vec()).map_err(|e| e.message), verdict, "{case}");
        }
        assert_eq!(may_approve(&Scopes::new([READ, WRITE]), &admin, 3), Ok(()));
        assert_eq!(may_approve(&admin, &reader, 3).unwrap_err().message, "missing scope: operator.admin");
    }
}
