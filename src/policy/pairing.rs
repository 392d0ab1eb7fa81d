//! Whether a verified device may come in as it is, is let in silently, or waits for an operator; which token it
//! gets; who may rotate what (protocol 2.6 and 12, DECISIONS 34-35, LESSONS R4 and R12).

use super::device::PairedDevice;
use crate::protocol::ErrorShape;
use crate::protocol::connect::{Client, Refusal};
use crate::protocol::roles::{Role, Scopes};

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

pub struct PairingFacts<'a> {
    pub paired: Option<PairedDevice<'a>>,
    pub public_key: &'a str,
    pub client: &'a Client,
    pub role: Role,
    pub asked: &'a Scopes,
    pub local_direct: bool,
    pub has_origin: bool,
    /// The rules of `skip`: backend client, Control UI without device auth, trusted proxy.
    pub may_skip: bool,
}

pub fn decide(facts: &PairingFacts) -> Pairing {
    let _ = facts;
    Pairing::Needed(PairingReason::NotPaired)
}

/// `pairing required`, with the id of the pending request.
pub fn refuse(request_id: &str, reason: PairingReason) -> Refusal {
    let _ = (request_id, reason);
    Refusal::policy(ErrorShape::invalid("pairing required"))
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
    let _ = (device, role, asked);
    TokenRule::None
}

/// The scopes of a rotated token, or why not. `asked` None: those of the present token.
pub fn scopes_for_rotation(
    device: Option<&PairedDevice>,
    role: &str,
    asked: Option<&Scopes>,
    caller: &Scopes,
    protocol: u32,
) -> Result<Scopes, ErrorShape> {
    let _ = (device, role, asked, caller, protocol);
    Err(ErrorShape::invalid("unknown deviceId/role"))
}
