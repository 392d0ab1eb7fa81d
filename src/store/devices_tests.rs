//! Tests of the device store: the reference's shapes, life of requests and tokens, epochs, bad disks.

use std::fs;
use std::time::Duration;

use super::atomic::tests::TempDir;
use super::device_record::PairRequest;
use super::devices::{Devices, Refresh, Refused};
use super::writer::Store;
use super::writer::tests::quiet_store;
use crate::limits;

const LONG: Duration = Duration::from_secs(3600);
const NOW: u64 = 1_795_204_152_631;

fn request(id: &str, role: &str, scopes: &[&str]) -> PairRequest {
    PairRequest {
        device_id: id.into(),
        public_key: format!("key-of-{id}"),
        platform: Some("linux".into()),
        client_id: Some("test".into()),
        client_mode: Some("test".into()),
        role: role.into(),
        scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
        ..PairRequest::default()
    }
}

fn open(dir: &TempDir) -> (Devices, Store) {
    let store = quiet_store(LONG);
    (Devices::open(dir.path(), &store, NOW), store)
}

fn read(dir: &TempDir, name: &str) -> serde_json::Value {
    serde_json::from_slice(&fs::read(dir.join("devices").join(name)).unwrap()).unwrap()
}

#[test]
fn a_request_is_merged_approved_and_survives() {
    let dir = TempDir::new("devices-life");
    let (devices, store) = open(&dir);
    let (first, created) = devices.request(request("d1", "operator", &["operator.read"]), NOW);
    assert!(created && !first.is_repair && !first.silent);
    let (again, created) = devices.request(request("d1", "operator", &["operator.write"]), NOW + 5);
    assert!(!created);
    assert_eq!((again.request_id, again.ts), (first.request_id.clone(), NOW + 5));
    assert_eq!(again.scopes, ["operator.read", "operator.write"]);
    assert_eq!(read(&dir, "pending.json").as_object().unwrap().len(), 1);
    assert_eq!(devices.approve("nope", None, NOW).unwrap_err(), Refused::Unknown);
    let device = devices.approve(&first.request_id, None, NOW + 10).unwrap();
    assert_eq!(device.approved_scopes, ["operator.read", "operator.write"]);
    assert_eq!(read(&dir, "pending.json").to_string(), "{}");
    drop((devices, store));

    let (devices, _store) = open(&dir);
    assert_eq!(devices.get("d1").unwrap(), device);
    assert_eq!(device.tokens["operator"].token.expose().len(), 43);
}

#[test]
fn requests_expire_and_are_bounded() {
    let dir = TempDir::new("devices-expiry");
    let (devices, _store) = open(&dir);
    let (old, _) = devices.request(request("old", "operator", &[]), NOW);
    let ttl = limits::PAIRING_REQUEST_TTL.as_millis() as u64;
    assert!(devices.pending(&old.request_id, NOW + ttl - 1).is_some());
    assert_eq!(devices.approve(&old.request_id, None, NOW + ttl).unwrap_err(), Refused::Unknown);
    assert_eq!(devices.reject(&old.request_id, NOW + ttl).unwrap_err(), Refused::Unknown);
    for n in 0..limits::PENDING_PAIRINGS as u64 + 3 {
        devices.request(request(&format!("d{n}"), "operator", &[]), NOW + ttl + n);
    }
    let list = devices.list(NOW + ttl);
    let pending = list["pending"].as_array().unwrap();
    assert_eq!(pending.len(), limits::PENDING_PAIRINGS);
    assert!(pending[0]["ts"].as_u64() > pending[1]["ts"].as_u64(), "newest first");
}

#[test]
fn silent_pairing_approves_nothing_but_what_it_is_about() {
    let dir = TempDir::new("devices-silent-bounds");
    let (devices, _store) = open(&dir);
    let (waiting, _) = devices.request(request("phone", "operator", &["operator.admin"]), NOW);
    let asked = PairRequest { more_roles: vec!["operator".into()], ..request("phone", "node", &["operator.read"]) };
    let (request_id, device) = devices.pair_silently(asked, Some(Vec::new()), NOW + 1).unwrap();
    assert_eq!(request_id, waiting.request_id, "the request that waited is answered");
    assert_eq!(
        (device.role.as_str(), device.roles, device.approved_scopes),
        ("node", vec!["operator".into(), "node".into()], vec!["operator.read".into()])
    );
    assert_eq!(device.tokens.keys().collect::<Vec<_>>(), ["node"]);
    assert_eq!(device.tokens["node"].scopes, [""; 0]);
    assert_eq!(read(&dir, "pending.json").to_string(), "{}");
}

#[test]
fn silent_pairing_is_one_write_and_an_unchanged_connect_none() {
    let dir = TempDir::new("devices-silent");
    let (devices, _store) = open(&dir);
    let (_, device) = devices.pair_silently(request("d1", "operator", &["b", "a"]), None, NOW).unwrap();
    assert!(!dir.join("devices/pending.json").exists());
    let before = fs::read(dir.join("devices/paired.json")).unwrap();
    fs::remove_file(dir.join("devices/paired.json")).unwrap();
    let token = device.tokens["operator"].clone();
    assert_eq!(token.scopes, ["a", "b"]);
    let same =
        Refresh { client_id: Some("test".into()), scopes: Some(vec!["b".into(), "a".into()]), ..Refresh::default() };
    assert!(!devices.refresh("d1", same));
    devices.note_use("d1", "operator", NOW + 1000);
    assert_eq!(devices.ensure_token("d1", "operator", &["a".into()], &|_| true, NOW + 1000).unwrap(), token);
    devices.flush().unwrap();
    assert!(!dir.join("devices/paired.json").exists(), "nothing changed, nothing written");
    assert!(devices.refresh("d1", Refresh { remote_ip: Some("192.0.2.1".into()), ..Refresh::default() }));
    assert!(!dir.join("devices/paired.json").exists(), "metadata is written soon, not now");
    devices.flush().unwrap();
    assert_ne!(fs::read(dir.join("devices/paired.json")).unwrap(), before);
    assert!(!devices.refresh("unknown", Refresh { remote_ip: Some("x".into()), ..Refresh::default() }));
    // Hours later the use is noted.
    devices.note_use("d1", "operator", NOW + 7_200_000);
    devices.flush().unwrap();
    assert_eq!(read(&dir, "paired.json")["d1"]["tokens"]["operator"]["lastUsedAtMs"], NOW + 7_200_000);
}

#[test]
fn rotation_revocation_and_removal_change_the_epoch() {
    let dir = TempDir::new("devices-epoch");
    let (devices, _store) = open(&dir);
    let (_, device) = devices.pair_silently(request("d1", "operator", &["a"]), None, NOW).unwrap();
    let first = device.tokens["operator"].token.expose().to_owned();
    let mut epochs = vec![devices.epoch("d1")];
    assert_eq!(devices.rotate_token("d1", "node", vec![], NOW).unwrap_err(), Refused::Unknown);
    assert_eq!(devices.rotate_token("dx", "operator", vec![], NOW).unwrap_err(), Refused::Unknown);
    assert_eq!(devices.revoke_token("d1", "node", NOW).unwrap_err(), Refused::Unknown);
    let second = devices.rotate_token("d1", "operator", vec!["a".into()], NOW + 1).unwrap();
    assert_eq!(second.rotated_at_ms, Some(NOW + 1));
    assert!(!devices.get("d1").unwrap().tokens["operator"].token.matches(&first));
    epochs.push(devices.epoch("d1"));
    assert_eq!(devices.revoke_token("d1", "operator", NOW + 2).unwrap(), NOW + 2);
    assert!(!devices.get("d1").unwrap().tokens["operator"].is_valid());
    epochs.push(devices.epoch("d1"));
    // A connect with the shared secret gets a new token after that.
    let third = devices.ensure_token("d1", "operator", &["a".into()], &|_| true, NOW + 3).unwrap();
    assert!(third.is_valid() && third.token != second.token);
    devices.remove("d1").unwrap();
    assert_eq!(devices.remove("d1").unwrap_err(), Refused::Unknown);
    epochs.push(devices.epoch("d1"));
    devices.pair_silently(request("d1", "operator", &["a"]), None, NOW).unwrap();
    epochs.push(devices.epoch("d1"));
    epochs.dedup();
    assert_eq!(epochs.len(), 4, "{epochs:?}: three changes, and none by pairing again");
    assert_eq!(devices.epoch("other"), 0);
}

#[test]
fn another_key_voids_the_tokens() {
    let dir = TempDir::new("devices-key");
    let (devices, _store) = open(&dir);
    let (_, device) = devices.pair_silently(request("d1", "operator", &["a"]), None, NOW).unwrap();
    let epoch = devices.epoch("d1");
    let other = PairRequest { public_key: "other".into(), ..request("d1", "operator", &["a"]) };
    let (_, repaired) = devices.pair_silently(other, None, NOW).unwrap();
    assert_ne!(repaired.tokens["operator"].token, device.tokens["operator"].token);
    assert_ne!(devices.epoch("d1"), epoch);
}

/// A record as the reference writes it, with a field and a record that we do not know.
const RECORDED: &str = r#"{
  "1649d95f": {
    "deviceId": "1649d95f",
    "publicKey": "jPIXrWPMBhOnTgFLLMonIxmPCDt7UKGcPk3XZlf2HCs",
    "platform": "linux",
    "clientId": "test",
    "clientMode": "test",
    "role": "operator",
    "roles": ["operator"],
    "scopes": ["operator.admin", "operator.read"],
    "approvedScopes": ["operator.admin", "operator.read"],
    "tokens": {
      "operator": {
        "token": "uDtSb50UUz_SObgwiqyctWhfp5evH_lDJ-lWLKCeSuM",
        "role": "operator",
        "scopes": ["operator.admin", "operator.read"],
        "createdAtMs": 1795204148642,
        "audience": "x"
      }
    },
    "createdAtMs": 1795204148642,
    "approvedAtMs": 1795204148642,
    "pushToken": {"apns": "secret"}
  },
  "odd": {"tokens": 5}
}"#;

#[test]
fn the_references_file_is_kept_field_by_field() {
    let dir = TempDir::new("devices-shape");
    fs::create_dir_all(dir.join("devices")).unwrap();
    fs::write(dir.join("devices/paired.json"), RECORDED).unwrap();
    let (devices, _store) = open(&dir);
    devices.refresh("1649d95f", Refresh { remote_ip: Some("192.0.2.7".into()), ..Refresh::default() });
    devices.flush().unwrap();
    let mut expected: serde_json::Value = serde_json::from_str(RECORDED).unwrap();
    expected["1649d95f"]["remoteIp"] = "192.0.2.7".into();
    assert_eq!(read(&dir, "paired.json"), expected);
    let view = devices.list(NOW).to_string();
    for secret in ["uDtSb50", "apns", "audience", "approvedScopes"] {
        assert!(!view.contains(secret), "{secret}");
    }
    let tokens = &devices.list(NOW)["paired"][0]["tokens"];
    assert_eq!(
        tokens.to_string(),
        r#"[{"role":"operator","scopes":["operator.admin","operator.read"],"createdAtMs":1795204148642}]"#
    );
}

#[test]
fn damaged_files_are_set_aside() {
    for (n, content) in [&b""[..], &[0; 64], b"{\"a\":", b"[]", b"\xff\xfe"].into_iter().enumerate() {
        let dir = TempDir::new("devices-damaged");
        fs::create_dir_all(dir.join("devices")).unwrap();
        fs::write(dir.join("devices/paired.json"), content).unwrap();
        fs::write(dir.join("devices/pending.json"), content).unwrap();
        let (devices, _store) = open(&dir);
        assert_eq!(devices.list(NOW)["paired"], serde_json::json!([]));
        let aside = dir.join("devices").join(format!("paired.json.corrupt-{NOW}"));
        assert_eq!(fs::read(aside).unwrap(), content, "case {n}");
        devices.pair_silently(request("d", "operator", &[]), None, NOW).unwrap();
        assert!(dir.join("devices/paired.json").exists());
    }
}

#[test]
fn a_disk_that_refuses_does_not_stop_pairing() {
    let dir = TempDir::new("devices-readonly");
    fs::write(dir.join("devices"), "a file where the directory should be").unwrap();
    let (devices, store) = open(&dir);
    let (_, device) = devices.pair_silently(request("d", "operator", &[]), None, NOW).unwrap();
    assert_eq!(devices.get("d"), Some(device));
    assert!(devices.flush().is_err());
    fs::remove_file(dir.join("devices")).unwrap();
    store.flush().unwrap();
    assert_eq!(read(&dir, "paired.json")["d"]["deviceId"], "d", "written once it can be");
}

#[test]
fn mutated_files_never_panic() {
    let dir = TempDir::new("devices-mutated");
    fs::create_dir_all(dir.join("devices")).unwrap();
    let store = quiet_store(LONG);
    let mut random = crate::sys::testing::Random(7);
    for _ in 0..300 {
        let bytes = random.mutated(RECORDED.as_bytes());
        fs::write(dir.join("devices/paired.json"), &bytes).unwrap();
        let devices = Devices::open(dir.path(), &store, NOW);
        devices.list(NOW);
    }
}
