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
}

pub fn decide(facts: &PairingFacts) -> Pairing {
    if facts.may_skip {
        return Pairing::Skipped;
    }
    let Some(reason) = missing(facts) else { return Pairing::Paired };
    // A page may pair silently only as one of the user interfaces, and never to become a node.
    let interface = (facts.client.is_control_ui() || facts.client.is_webchat()) && facts.role == Role::Operator;
    let small = matches!(reason, PairingReason::NotPaired | PairingReason::ScopeUpgrade);
    if facts.local_direct && small && (!facts.has_origin || interface) {
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
