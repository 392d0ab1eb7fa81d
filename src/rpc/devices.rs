//! device.pair.* and device.token.*: who may connect, and with which token (protocol 2.6 and 12; DECISIONS 35).

use std::sync::Arc;

use serde_json::{Value, json};

use super::Payload;
use super::context::{Caller, Context, wall_ms};
use crate::hub::reply::Reply;
use crate::hub::{Event, Revocation};
use crate::policy::device::{PairedDevice, TokenView};
use crate::policy::pairing;
use crate::protocol::ErrorShape;
use crate::protocol::params::devices::{PairRemoveParams, PairRequestParams, TokenRevokeParams, TokenRotateParams};
use crate::protocol::params::read;
use crate::protocol::roles::{Role, Scopes};
use crate::store::device_record;
use crate::store::device_record::public_view;
use crate::store::devices::Refused;

pub fn pair_list(ctx: &Context, _caller: &Caller, _params: Value) -> Result<Payload, ErrorShape> {
    Ok(ctx.devices.list(wall_ms()).into())
}

/// The new token's scopes may not exceed what the approver holds.
pub fn pair_approve(ctx: &Context, caller: &Caller, params: Value) -> Result<Payload, ErrorShape> {
    let params: PairRequestParams = read("device.pair.approve", params)?;
    let unknown = || ErrorShape::invalid("unknown requestId");
    let pending = ctx.devices.pending(&params.request_id, wall_ms()).ok_or_else(unknown)?;
    pairing::may_approve(&Scopes::new(&pending.scopes), &caller.scopes, caller.protocol)?;
    let device = ctx.devices.approve(&params.request_id, None, wall_ms()).map_err(|refused| match refused {
        Refused::Unknown => unknown(),
        Refused::Full => too_many_devices(),
    })?;
    resolved(ctx, &params.request_id, &device.device_id, "approved");
    Ok(json!({"requestId": params.request_id, "device": public_view(&device)}).into())
}

pub fn pair_reject(ctx: &Context, _caller: &Caller, params: Value) -> Result<Payload, ErrorShape> {
    let params: PairRequestParams = read("device.pair.reject", params)?;
    let rejected = ctx.devices.reject(&params.request_id, wall_ms());
    let rejected = rejected.map_err(|_| ErrorShape::invalid("unknown requestId"))?;
    ctx.setup_codes.revoke_of(&rejected.device_id, wall_ms());
    resolved(ctx, &params.request_id, &rejected.device_id, "rejected");
    Ok(json!({"requestId": params.request_id, "deviceId": rejected.device_id}).into())
}

/// The store is full.
pub fn too_many_devices() -> ErrorShape {
    ErrorShape::unavailable("the gateway holds too many paired devices; remove some with: openclaw devices remove <id>")
}

/// Tells operators how a request was decided.
pub fn resolved(ctx: &Context, request_id: &str, device_id: &str, decision: &str) {
    let payload = json!({"requestId": request_id, "deviceId": device_id, "decision": decision, "ts": wall_ms()});
    ctx.hub.send(Event::Broadcast { event: "device.pair.resolved", payload });
}

/// These three change what a device may do: the answer and the end of its sockets leave the hub in this order.
pub fn pair_remove(ctx: &Arc<Context>, _caller: &Arc<Caller>, params: Value, reply: Reply) {
    on_pool(ctx, reply, move |ctx| {
        let params: PairRemoveParams = read("device.pair.remove", params)?;
        ctx.devices.remove(&params.device_id).map_err(|_| ErrorShape::invalid("unknown deviceId"))?;
        ctx.setup_codes.revoke_of(&params.device_id, wall_ms());
        let payload = json!({"deviceId": params.device_id});
        Ok((params.device_id, None, "device removed", payload))
    });
}

pub fn token_rotate(ctx: &Arc<Context>, caller: &Arc<Caller>, params: Value, reply: Reply) {
    let caller = caller.clone();
    on_pool(ctx, reply, move |ctx| {
        let params: TokenRotateParams = read("device.token.rotate", params)?;
        let unknown = || ErrorShape::invalid("unknown deviceId/role");
        let record = ctx.devices.get(&params.device_id).ok_or_else(unknown)?;
        let approved = approved_scopes(&record);
        let held = record.tokens.get(&params.role).map(|t| Scopes::new(&t.scopes));
        let asked = params.scopes.as_ref().map(Scopes::new);
        let view = view(&record, &approved, &params.role, held.as_ref());
        let scopes =
            pairing::scopes_for_rotation(Some(&view), &params.role, asked.as_ref(), &caller.scopes, caller.protocol)?;
        let scopes: Vec<String> = scopes.iter().map(str::to_owned).collect();
        let token =
            ctx.devices.rotate_token(&params.device_id, &params.role, scopes, wall_ms()).map_err(|_| unknown())?;
        log::info!(target: "gateway", "device token rotated device={} role={}", params.device_id, params.role);
        let payload = json!({
            "deviceId": params.device_id,
            "role": params.role,
            "token": token.token.expose(),
            "scopes": token.scopes,
            "rotatedAtMs": token.rotated_at_ms,
        });
        Ok((params.device_id, Role::parse(&params.role), "device token rotated", payload))
    });
}

pub fn token_revoke(ctx: &Arc<Context>, _caller: &Arc<Caller>, params: Value, reply: Reply) {
    on_pool(ctx, reply, move |ctx| {
        let params: TokenRevokeParams = read("device.token.revoke", params)?;
        let revoked = ctx.devices.revoke_token(&params.device_id, &params.role, wall_ms());
        let at = revoked.map_err(|_| ErrorShape::invalid("unknown deviceId/role"))?;
        log::info!(target: "gateway", "device token revoked device={} role={}", params.device_id, params.role);
        let payload = json!({"deviceId": params.device_id, "role": params.role, "revokedAtMs": at});
        Ok((params.device_id, Role::parse(&params.role), "device token revoked", payload))
    });
}

/// The device, the role whose sockets close (None: all), the reason, and the answer.
type Change = (String, Option<Role>, &'static str, Value);

fn on_pool(
    ctx: &Arc<Context>,
    reply: Reply,
    change: impl FnOnce(&Context) -> Result<Change, ErrorShape> + Send + 'static,
) {
    let own = ctx.clone();
    // A job that is not taken is dropped with its reply, which then says UNAVAILABLE by itself.
    ctx.jobs.submit(move || match change(&own) {
        Ok((device_id, role, reason, payload)) => {
            let epoch = own.devices.epoch(&device_id);
            let answer = Some((reply, payload));
            own.hub.send(Event::Revoke(Box::new(Revocation { device_id, role, epoch, reason, answer })));
        }
        Err(error) => reply.err(&error),
    });
}

/// What was approved for a device, the baseline of its tokens.
pub fn approved_scopes(record: &device_record::PairedDevice) -> Scopes {
    Scopes::new(if record.approved_scopes.is_empty() { &record.scopes } else { &record.approved_scopes })
}

/// The record as the rules see it.
pub fn view<'a>(
    record: &'a device_record::PairedDevice,
    approved: &'a Scopes,
    role: &str,
    held: Option<&'a Scopes>,
) -> PairedDevice<'a> {
    let token = record.tokens.get(role).zip(held);
    PairedDevice {
        public_key: &record.public_key,
        roles: &record.roles,
        scopes: approved,
        platform: record.platform.as_deref(),
        device_family: record.device_family.as_deref(),
        token: token.map(|(t, scopes)| TokenView { token: &t.token, scopes, revoked: !t.is_valid() }),
    }
}
