//! Roles and scopes of a connection (protocol 3): what was asked for, what covers what.

use serde::{Serialize, Serializer};

use crate::sort;

pub const ADMIN: &str = "operator.admin";
pub const READ: &str = "operator.read";
pub const WRITE: &str = "operator.write";
pub const APPROVALS: &str = "operator.approvals";
pub const PAIRING: &str = "operator.pairing";
pub const TALK_SECRETS: &str = "operator.talk.secrets";

/// The five scopes that the command line asks for, in its order.
pub const ALL_OPERATOR: [&str; 5] = [ADMIN, READ, WRITE, APPROVALS, PAIRING];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Operator,
    Node,
}

impl Role {
    pub const ALL: [(&'static str, Role); 2] = [("operator", Role::Operator), ("node", Role::Node)];

    /// Exactly `operator` or `node`.
    pub fn parse(text: &str) -> Option<Role> {
        Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, role)| *role)
    }

    pub fn name(self) -> &'static str {
        match self {
            Role::Operator => "operator",
            Role::Node => "node",
        }
    }
}

/// A set of scopes that keeps the order in which they were asked for. Names that we do not know are kept: they
/// take part in pairing and in tokens, and cover nothing but themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(Vec<String>);

impl Scopes {
    pub const NONE: Scopes = Scopes(Vec::new());

    /// Trims, drops what is empty and what is there already.
    pub fn new<I, S>(names: I) -> Scopes
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        let mut scopes = Scopes::default();
        for name in names {
            scopes.add(name.as_ref());
        }
        scopes
    }

    pub fn add(&mut self, name: &str) {
        let name = name.trim();
        if !name.is_empty() && !self.contains(name) {
            self.0.push(name.to_owned());
        }
    }

    /// This very name, without regard to what covers it.
    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|held| held == name)
    }

    /// Admin covers every `operator.*`, write covers read, anything covers itself.
    pub fn covers(&self, needed: &str) -> bool {
        self.0.iter().any(|held| {
            held == needed || (held == ADMIN && needed.starts_with("operator.")) || (held == WRITE && needed == READ)
        })
    }

    pub fn covers_all(&self, needed: &Scopes) -> bool {
        needed.0.iter().all(|name| self.covers(name))
    }

    pub fn is_admin(&self) -> bool {
        self.contains(ADMIN)
    }

    /// Those of `self` that `other` covers, in the order of `self`.
    pub fn covered_by(&self, other: &Scopes) -> Scopes {
        Scopes(self.0.iter().filter(|name| other.covers(name)).cloned().collect())
    }

    pub fn union(&self, other: &Scopes) -> Scopes {
        let mut all = self.clone();
        for name in &other.0 {
            all.add(name);
        }
        all
    }

    /// The form in which tokens carry them.
    pub fn sorted(&self) -> Scopes {
        let mut names = self.0.clone();
        sort::by(&mut names, Ord::cmp);
        Scopes(names)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Scopes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Scopes::new(Vec::<String>::deserialize(deserializer)?))
    }
}

impl<S: AsRef<str>> FromIterator<S> for Scopes {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Scopes {
        Scopes::new(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_covers_what() {
        for (held, needed, covered) in [
            (&[ADMIN][..], READ, true),
            (&[ADMIN], PAIRING, true),
            (&[ADMIN], TALK_SECRETS, true),
            (&[ADMIN], "operator.future", true),
            (&[ADMIN], "node.x", false),
            (&[WRITE], READ, true),
            (&[WRITE], ADMIN, false),
            (&[READ], WRITE, false),
            (&[READ, APPROVALS], APPROVALS, true),
            (&["x.y"], "x.y", true),
            (&[], READ, false),
        ] {
            assert_eq!(Scopes::new(held).covers(needed), covered, "{held:?} {needed}");
        }
    }

    #[test]
    fn sets_keep_their_order_and_sort_on_demand() {
        let asked = Scopes::new([" operator.write", "operator.admin", "", "operator.write"]);
        assert_eq!(asked.as_slice(), ["operator.write", "operator.admin"]);
        assert_eq!(asked.sorted().as_slice(), ["operator.admin", "operator.write"]);
        assert_eq!(asked.union(&Scopes::new([READ, ADMIN])).as_slice(), [WRITE, ADMIN, READ]);
        assert_eq!(asked.covered_by(&Scopes::new([WRITE])).as_slice(), [WRITE]);
        assert_eq!(serde_json::to_string(&asked).unwrap(), r#"["operator.write","operator.admin"]"#);
        let read: Scopes = serde_json::from_str(r#"["a","a","b"]"#).unwrap();
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn roles_are_spelled_exactly() {
        assert_eq!(Role::parse("operator"), Some(Role::Operator));
        assert_eq!(Role::parse("node"), Some(Role::Node));
        assert_eq!(Role::parse("Operator"), None);
        assert_eq!(Role::parse("admin"), None);
        assert_eq!(serde_json::to_string(&Role::Node).unwrap(), r#""node""#);
    }
}
