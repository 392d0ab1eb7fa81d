//! Paired devices, requests to be paired, device tokens: in memory under one leaf lock, on disk at once (protocol 2.6).
//!
//! Any thread may ask; the `store` thread writes. A change is on disk before its call returns; times of use and metadata
//! follow *soon*; a known device that connects unchanged causes no write. When the disk refuses, memory keeps the truth
//! (DECISIONS 40). Who may pair and which scopes a token gets is decided elsewhere: these functions take decided values.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::atomic;
use super::device_record::{DeviceToken, PairedDevice, PendingRequest, add_missing, cut, sorted};
pub use super::device_record::{PairRequest, pending_view, public_view};
use super::writer::{Render, Store};
use crate::protocol::roles::Scopes;
use crate::{ids, limits, sort};

/// `lastUsedAtMs` is this coarse, so that connects cause no writes.
const LAST_USED_STEP_MS: u64 = 3_600_000;
/// Epochs remembered one by one; beyond that all devices get a new one.
const EPOCHS: usize = 4096;

/// The device store. Clones share the same state.
#[derive(Clone)]
pub struct Devices {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    pending_path: PathBuf,
    paired_path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By request id.
    pending: BTreeMap<String, PendingRequest>,
    /// By device id.
    paired: BTreeMap<String, PairedDevice>,
    /// Records that are not of the known shape, written back as they were.
    foreign_pending: Map<String, Value>,
    foreign_paired: Map<String, Value>,
    epochs: HashMap<String, u64>,
    /// Epoch of every device that is not in `epochs`.
    base_epoch: u64,
    last_epoch: u64,
}

/// What a connect may refresh in a paired record; `None` leaves the field.
#[derive(Clone, Debug, Default)]
pub struct Refresh {
    pub display_name: Option<String>,
    pub client_id: Option<String>,
    pub client_mode: Option<String>,
    pub role: Option<String>,
    pub scopes: Option<Vec<String>>,
    pub remote_ip: Option<String>,
}

/// Why a change was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// `unknown requestId`, `unknown deviceId` or `unknown deviceId/role`.
    Unknown,
    /// The store holds `limits::PAIRED_DEVICES` devices.
    Full,
}

#[derive(Clone, Copy)]
enum File {
    Pending,
    Paired,
}

impl Devices {
    /// Reads `<state>/devices/`; damaged files are set aside.
    pub fn open(state: &Path, store: &Store, now_ms: u64) -> Devices {
        let directory = state.join("devices");
        atomic::sweep_temporary(&directory);
        let (pending_path, paired_path) = (directory.join("pending.json"), directory.join("paired.json"));
        let mut known = State::default();
        let (pending, foreign) = load::<PendingRequest>(&pending_path, now_ms);
        known.foreign_pending = foreign;
        known.pending = pending;
        for (id, request) in &mut known.pending {
            request.request_id.clone_from(id);
            add_missing(&mut request.roles, [&request.role]);
        }
        let (paired, foreign) = load::<PairedDevice>(&paired_path, now_ms);
        known.foreign_paired = foreign;
        known.paired = paired;
        for (id, device) in &mut known.paired {
            device.device_id.clone_from(id);
            add_missing(&mut device.roles, [&device.role]);
            if device.approved_scopes.is_empty() {
                device.approved_scopes.clone_from(&device.scopes);
            }
        }
        let shared = Shared { store: store.clone(), pending_path, paired_path, state: Mutex::new(known) };
        Devices { shared: Arc::new(shared) }
    }

    /// One device; its clone holds the token texts.
    pub fn get(&self, device_id: &str) -> Option<PairedDevice> {
        self.shared.state.lock().paired.get(device_id).cloned()
    }

    /// Changes when a token of the device is rotated or revoked, its key replaced, or the device removed. 0 is a valid epoch.
    pub fn epoch(&self, device_id: &str) -> u64 {
        self.shared.state.lock().epoch(device_id)
    }

    /// Stores or merges the request of a device: one per device, the same `requestId`, roles and scopes united, `ts` renewed.
    /// The flag is true when it is new (only then `device.pair.requested` is sent).
    pub fn request(&self, request: PairRequest, now_ms: u64) -> (PendingRequest, bool) {
        let (stored, created, changed) = self.shared.state.lock().request(request, now_ms);
        if created || changed {
            self.write(File::Pending);
        } else {
            // Only `ts` moved: a client that knocks every second must not wear out the flash.
            self.write_soon(File::Pending);
        }
        (stored, created)
    }

    /// Turns a request into a paired device and issues a token for the requested role with `token_scopes` (`None`: the scopes asked for).
    pub fn approve(
        &self,
        request_id: &str,
        token_scopes: Option<Vec<String>>,
        now_ms: u64,
    ) -> Result<PairedDevice, Refused> {
        let device = {
            let mut state = self.shared.state.lock();
            state.expire(now_ms);
            let request = state.pending.get(request_id).cloned().ok_or(Refused::Unknown)?;
            let device = state.pair(&request, token_scopes, now_ms)?;
            state.pending.remove(request_id);
            device
        };
        // Paired first: a crash in between leaves a request that can be approved again, not an approval that is lost.
        self.write(File::Paired);
        self.write(File::Pending);
        Ok(device)
    }

    /// Request and approval in one step, for pairings that nobody is asked about: one write instead of three. What the
    /// device asked for before and waits for is not approved with it; that request is answered.
    /// Returns the request id for `device.pair.resolved`.
    pub fn pair_silently(
        &self,
        request: PairRequest,
        token_scopes: Option<Vec<String>>,
        now_ms: u64,
    ) -> Result<(String, PairedDevice), Refused> {
        let (request_id, device, had_pending) = {
            let mut state = self.shared.state.lock();
            let waiting =
                state.pending.values().find(|p| p.device_id == request.device_id).map(|p| p.request_id.clone());
            let is_repair = state.paired.contains_key(&request.device_id);
            let request_id = waiting.clone().unwrap_or_else(ids::new_uuid);
            let request = PendingRequest::new(request_id, request, is_repair, now_ms);
            state.pending.remove(&request.request_id);
            let paired = state.pair(&request, token_scopes, now_ms);
            (request.request_id, paired?, waiting.is_some())
        };
        self.write(File::Paired);
        if had_pending {
            self.write(File::Pending);
        }
        Ok((request_id, device))
    }

    pub fn reject(&self, request_id: &str, now_ms: u64) -> Result<PendingRequest, Refused> {
        let request = {
            let mut state = self.shared.state.lock();
            state.expire(now_ms);
            state.pending.remove(request_id).ok_or(Refused::Unknown)?
        };
        self.write(File::Pending);
        Ok(request)
    }

    /// The request as it stands, e.g. to check an approver's scopes against it.
    pub fn pending(&self, request_id: &str, now_ms: u64) -> Option<PendingRequest> {
        let mut state = self.shared.state.lock();
        state.expire(now_ms);
        state.pending.get(request_id).cloned()
    }

    /// Forgets the device, its tokens and its request; its epoch changes.
    pub fn remove(&self, device_id: &str) -> Result<(), Refused> {
        let had_pending = {
            let mut state = self.shared.state.lock();
            state.paired.remove(device_id).ok_or(Refused::Unknown)?;
            state.change_epoch(device_id);
            let before = state.pending.len();
            state.pending.retain(|_, request| request.device_id != device_id);
            state.pending.len() != before
        };
        self.write(File::Paired);
        if had_pending {
            self.write(File::Pending);
        }
        Ok(())
    }

    /// Metadata of a connect; written *soon*, and not at all when nothing differs. Returns whether something did.
    pub fn refresh(&self, device_id: &str, refresh: Refresh) -> bool {
        let changed = {
            let mut state = self.shared.state.lock();
            let Some(device) = state.paired.get_mut(device_id) else { return false };
            let mut changed = false;
            for (field, new) in [
                (&mut device.display_name, refresh.display_name),
                (&mut device.client_id, refresh.client_id),
                (&mut device.client_mode, refresh.client_mode),
                (&mut device.remote_ip, refresh.remote_ip),
            ] {
                let new = new.map(cut);
                if new.is_some() && *field != new {
                    *field = new;
                    changed = true;
                }
            }
            if let Some(role) = refresh.role.filter(|role| *role != device.role) {
                device.role = role;
                changed = true;
            }
            if let Some(scopes) = refresh.scopes.filter(|scopes| *scopes != device.scopes) {
                device.scopes = scopes;
                changed = true;
            }
            changed
        };
        if changed {
            self.write_soon(File::Paired);
        }
        changed
    }

    /// Notes, to the hour, that a token was used; written *soon*.
    pub fn note_use(&self, device_id: &str, role: &str, now_ms: u64) {
        let noted = {
            let mut state = self.shared.state.lock();
            let token = state.paired.get_mut(device_id).and_then(|device| device.tokens.get_mut(role));
            let Some(token) = token else { return };
            let known_use = token.last_used_at_ms.unwrap_or(token.issued_at_ms());
            let noted = now_ms.saturating_sub(known_use) >= LAST_USED_STEP_MS;
            if noted {
                token.last_used_at_ms = Some(now_ms);
            }
            noted
        };
        if noted {
            self.write_soon(File::Paired);
        }
    }

    /// The token a connect returns: the one in force if it is valid and `covers` accepts its scopes, else a new one with exactly `scopes`.
    /// `Unknown` when the device is not paired for that role.
    pub fn ensure_token(
        &self,
        device_id: &str,
        role: &str,
        scopes: &[String],
        covers: &dyn Fn(&[String]) -> bool,
        now_ms: u64,
    ) -> Result<DeviceToken, Refused> {
        let token = {
            let mut state = self.shared.state.lock();
            let device = state.paired_for(device_id, role)?;
            if let Some(token) = device.tokens.get(role)
                && token.is_valid()
                && covers(&token.scopes)
            {
                return Ok(token.clone());
            }
            device.issue(role, scopes.to_vec(), now_ms)
        };
        self.write(File::Paired);
        Ok(token)
    }

    /// A new token with these scopes (already decided); the old one is void and the epoch changes. `Unknown` for a role that was never approved.
    pub fn rotate_token(
        &self,
        device_id: &str,
        role: &str,
        scopes: Vec<String>,
        now_ms: u64,
    ) -> Result<DeviceToken, Refused> {
        let token = {
            let mut state = self.shared.state.lock();
            let mut token = state.paired_for(device_id, role)?.issue(role, scopes, now_ms);
            token.rotated_at_ms = Some(now_ms);
            let device = state.paired_for(device_id, role)?;
            device.tokens.insert(role.to_owned(), token.clone());
            state.change_epoch(device_id);
            token
        };
        self.write(File::Paired);
        Ok(token)
    }

    /// Returns `revokedAtMs`.
    pub fn revoke_token(&self, device_id: &str, role: &str, now_ms: u64) -> Result<u64, Refused> {
        {
            let mut state = self.shared.state.lock();
            let device = state.paired.get_mut(device_id).ok_or(Refused::Unknown)?;
            device.tokens.get_mut(role).ok_or(Refused::Unknown)?.revoked_at_ms = Some(now_ms);
            state.change_epoch(device_id);
        }
        self.write(File::Paired);
        Ok(now_ms)
    }

    /// Payload of `device.pair.list`: `{pending:[…],paired:[…]}` without secrets, newest first.
    pub fn list(&self, now_ms: u64) -> Value {
        let mut state = self.shared.state.lock();
        state.expire(now_ms);
        let mut pending: Vec<&PendingRequest> = state.pending.values().collect();
        sort::by_key(&mut pending, |request| std::cmp::Reverse(request.ts));
        let mut paired: Vec<&PairedDevice> = state.paired.values().collect();
        sort::by_key(&mut paired, |device| std::cmp::Reverse(device.approved_at_ms));
        json!({
            "pending": pending.into_iter().map(pending_view).collect::<Vec<_>>(),
            "paired": paired.into_iter().map(public_view).collect::<Vec<_>>(),
        })
    }

    /// Writes what waits (metadata, times of use).
    pub fn flush(&self) -> io::Result<()> {
        self.shared.store.flush()
    }

    fn write(&self, file: File) {
        let (path, render) = self.shared.rendered(file);
        self.shared.store.write_or_keep(&path, render);
    }

    fn write_soon(&self, file: File) {
        let (path, render) = self.shared.rendered(file);
        self.shared.store.write_soon(path, render);
    }
}

impl Shared {
    fn rendered(self: &Arc<Self>, file: File) -> (PathBuf, Render) {
        let shared = self.clone();
        match file {
            File::Pending => (
                self.pending_path.clone(),
                Arc::new(move || {
                    let state = shared.state.lock();
                    print(&state.pending, &state.foreign_pending)
                }),
            ),
            File::Paired => (
                self.paired_path.clone(),
                Arc::new(move || {
                    let state = shared.state.lock();
                    print(&state.paired, &state.foreign_paired)
                }),
            ),
        }
    }
}

impl State {
    fn epoch(&self, device_id: &str) -> u64 {
        self.epochs.get(device_id).copied().unwrap_or(self.base_epoch)
    }

    fn change_epoch(&mut self, device_id: &str) {
        self.last_epoch += 1;
        if self.epochs.len() >= EPOCHS && !self.epochs.contains_key(device_id) {
            self.epochs.clear();
            self.base_epoch = self.last_epoch;
        } else {
            self.epochs.insert(device_id.to_owned(), self.last_epoch);
        }
    }

    fn expire(&mut self, now_ms: u64) {
        let ttl = limits::PAIRING_REQUEST_TTL.as_millis() as u64;
        // A request from the future (the clock was set back) lives as long as one from now.
        self.pending.retain(|_, request| now_ms.saturating_sub(request.ts) < ttl);
    }

    fn paired_for(&mut self, device_id: &str, role: &str) -> Result<&mut PairedDevice, Refused> {
        self.paired.get_mut(device_id).filter(|device| device.has_role(role)).ok_or(Refused::Unknown)
    }

    /// The stored request, whether it is new, whether anything but `ts` changed.
    fn request(&mut self, new: PairRequest, now_ms: u64) -> (PendingRequest, bool, bool) {
        self.expire(now_ms);
        let is_repair = self.paired.contains_key(&new.device_id);
        if let Some(known) = self.pending.values_mut().find(|request| request.device_id == new.device_id) {
            let before = known.clone();
            known.merge(new, is_repair);
            known.ts = before.ts;
            let changed = *known != before;
            known.ts = now_ms;
            return (known.clone(), false, changed);
        }
        if self.pending.len() >= limits::PENDING_PAIRINGS
            && let Some(oldest) = self.pending.values().min_by_key(|r| r.ts).map(|r| r.request_id.clone())
        {
            self.pending.remove(&oldest);
        }
        let request = PendingRequest::new(ids::new_uuid(), new, is_repair, now_ms);
        self.pending.insert(request.request_id.clone(), request.clone());
        (request, true, true)
    }

    fn pair(
        &mut self,
        request: &PendingRequest,
        token_scopes: Option<Vec<String>>,
        now_ms: u64,
    ) -> Result<PairedDevice, Refused> {
        let id = &request.device_id;
        if !self.paired.contains_key(id) && self.paired.len() >= limits::PAIRED_DEVICES {
            return Err(Refused::Full);
        }
        self.foreign_paired.shift_remove(id);
        let device = self.paired.entry(id.clone()).or_insert_with(|| PairedDevice {
            device_id: id.clone(),
            created_at_ms: now_ms,
            ..PairedDevice::default()
        });
        let other_key = !device.public_key.is_empty() && device.public_key != request.public_key;
        device.public_key.clone_from(&request.public_key);
        for (field, new) in [
            (&mut device.display_name, &request.display_name),
            (&mut device.platform, &request.platform),
            (&mut device.device_family, &request.device_family),
            (&mut device.client_id, &request.client_id),
            (&mut device.client_mode, &request.client_mode),
            (&mut device.remote_ip, &request.remote_ip),
        ] {
            if new.is_some() {
                field.clone_from(new);
            }
        }
        device.role.clone_from(&request.role);
        add_missing(&mut device.roles, request.roles.iter().chain([&request.role]));
        add_missing(&mut device.approved_scopes, &request.scopes);
        device.scopes.clone_from(&device.approved_scopes);
        device.approved_at_ms = now_ms;
        if other_key {
            device.tokens.clear();
        }
        let scopes = sorted(token_scopes.unwrap_or_else(|| request.scopes.clone()));
        let in_force = device.tokens.get(&request.role).filter(|token| token.is_valid());
        let asked = Scopes::new(&scopes);
        if !in_force.is_some_and(|token| Scopes::new(&token.scopes).covers_all(&asked)) {
            device.issue(&request.role, scopes, now_ms);
        }
        let device = device.clone();
        if other_key {
            self.change_epoch(id);
        }
        Ok(device)
    }
}

fn load<T: DeserializeOwned>(path: &Path, now_ms: u64) -> (BTreeMap<String, T>, Map<String, Value>) {
    let bytes = match atomic::read_limited(path, limits::STATE_FILE_BYTES) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Default::default(),
        Err(e) => {
            // Moved, not just ignored: the next change would overwrite it.
            log::warn!(target: "store", "cannot read {}: {e}", path.display());
            atomic::set_aside_corrupt(path, now_ms);
            return Default::default();
        }
    };
    match parse_records(&bytes) {
        Some(records) => records,
        None => {
            atomic::set_aside_corrupt(path, now_ms);
            Default::default()
        }
    }
}

/// Records of the known shape, and the others as they are; `None` when this is no JSON object.
fn parse_records<T: DeserializeOwned>(bytes: &[u8]) -> Option<(BTreeMap<String, T>, Map<String, Value>)> {
    let map: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
    let mut known = BTreeMap::new();
    let mut foreign = Map::new();
    for (id, value) in map {
        match T::deserialize(&value) {
            Ok(record) => {
                known.insert(id, record);
            }
            Err(_) => {
                foreign.insert(id, value);
            }
        }
    }
    Some((known, foreign))
}

fn print<T: serde::Serialize>(known: &BTreeMap<String, T>, foreign: &Map<String, Value>) -> Vec<u8> {
    let mut all = foreign.clone();
    for (id, record) in known {
        all.insert(id.clone(), serde_json::to_value(record).expect("records are plain data with string keys"));
    }
    let mut bytes = serde_json::to_vec_pretty(&all).expect("a JSON value can always be printed");
    bytes.push(b'\n');
    bytes
}
