//! What a service says about itself: the JSON of curator-x-discovery's `ServiceInstance`.
//!
//! Curator writes every field, absent ones as `null`, and tolerates fields that it does not know; so does this.

use serde::{Deserialize, Serialize};

use super::payload;

/// One instance of a service, with a payload of the application's own.
///
/// What is written as another type cannot be read as this one, and such an instance is left out: who reads must know what is
/// written. Who does not care takes `()`, which any payload is read as.
///
/// The JSON is that of curator-x-discovery. Curator's Java payloads that are objects carry their class as a field `@class`;
/// a payload type that is to be read there has to have one, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ServiceInstance<P = ()> {
    /// The service's name.
    pub name: String,
    /// The instance's own identifier: the name of its node.
    pub id: String,
    /// Where it is: a name or an address.
    #[serde(default)]
    pub address: Option<String>,
    /// Its port.
    #[serde(default)]
    pub port: Option<u16>,
    /// Its port for TLS.
    #[serde(default)]
    pub ssl_port: Option<u16>,
    /// What else it has to say.
    #[serde(
        default = "Option::default",
        deserialize_with = "payload::read",
        bound(deserialize = "P: Deserialize<'de>")
    )]
    pub payload: Option<P>,
    /// When it was registered, in milliseconds since 1970.
    #[serde(rename = "registrationTimeUTC", default)]
    pub registration_time_utc: i64,
    /// How long its node is there.
    #[serde(default)]
    pub service_type: ServiceType,
    /// How its URI is made.
    #[serde(default)]
    pub uri_spec: Option<UriSpec>,
    /// Whether it wants to be used.
    #[serde(default = "enabled")]
    pub enabled: bool,
}

const fn enabled() -> bool {
    true
}

/// How long the node of an instance is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum ServiceType {
    /// As long as the instance: what this crate registers.
    #[default]
    Dynamic,
    /// Until the instance is unregistered.
    Static,
    /// Until an operator deletes it.
    Permanent,
    /// As long as the instance, under a name with a number.
    DynamicSequential,
    /// One that this crate does not know, and does not write.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// A URI in parts, some of which are variables: `{scheme}://{address}:{port}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UriSpec {
    /// The parts in their order.
    pub parts: Vec<UriPart>,
}

/// A part of a [`UriSpec`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UriPart {
    /// The text, or the name of the variable.
    pub value: String,
    /// Whether it is a variable.
    pub variable: bool,
}

impl UriSpec {
    /// Reads a template: text, and variables in braces.
    #[must_use]
    pub fn new(template: &str) -> Self {
        let mut parts = Vec::new();
        let mut rest = template;
        while let Some((text, (variable, after))) = rest
            .split_once('{')
            .and_then(|(text, after)| Some((text, after.split_once('}')?)))
        {
            parts.push((text, false));
            parts.push((variable, true));
            rest = after;
        }
        parts.push((rest, false));
        let part = |(value, variable): (&str, bool)| UriPart {
            value: value.to_owned(),
            variable,
        };
        let parts = parts.into_iter().filter(|(value, _)| !value.is_empty());
        Self {
            parts: parts.map(part).collect(),
        }
    }
}

impl<P> ServiceInstance<P> {
    /// An instance of this service, with nothing to say yet. Registered without an identifier it gets a random one.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            id: String::new(),
            address: None,
            port: None,
            ssl_port: None,
            payload: None,
            registration_time_utc: 0,
            service_type: ServiceType::Dynamic,
            uri_spec: None,
            enabled: true,
        }
    }

    /// With an identifier of its own instead of a random one.
    #[must_use]
    pub fn id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.id);
        self
    }

    /// At this address.
    #[must_use]
    pub fn address(mut self, address: &str) -> Self {
        self.address = Some(address.to_owned());
        self
    }

    /// At this port.
    #[must_use]
    pub const fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// With TLS at this port.
    #[must_use]
    pub const fn ssl_port(mut self, port: u16) -> Self {
        self.ssl_port = Some(port);
        self
    }

    /// With this to say.
    #[must_use]
    pub fn payload(mut self, payload: P) -> Self {
        self.payload = Some(payload);
        self
    }

    /// With URIs of this form, `{scheme}://{address}:{port}/path`.
    #[must_use]
    pub fn uri_spec(mut self, template: &str) -> Self {
        self.uri_spec = Some(UriSpec::new(template));
        self
    }

    /// The instance's URI where it has a form, its variables replaced by what is known.
    ///
    /// `scheme` is `https` where there is a port for TLS, else `http`; what is unknown becomes empty, as in Curator.
    #[must_use]
    pub fn uri(&self) -> Option<String> {
        let number = |port: Option<u16>| port.map(|port| port.to_string()).unwrap_or_default();
        let replaced = |part: &UriPart| match (part.variable, part.value.as_str()) {
            (true, "scheme") if self.ssl_port.is_some() => "https".to_owned(),
            (true, "scheme") => "http".to_owned(),
            (true, "name") => self.name.clone(),
            (true, "id") => self.id.clone(),
            (true, "address") => self.address.clone().unwrap_or_default(),
            (true, "port") => number(self.port),
            (true, "ssl-port") => number(self.ssl_port),
            (true, "registration-time-utc") => self.registration_time_utc.to_string(),
            (true, _) => String::new(),
            (false, text) => text.to_owned(),
        };
        let spec = self.uri_spec.as_ref()?;
        Some(spec.parts.iter().map(replaced).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As curator-x-discovery 5 writes it.
    const CURATOR: &str = r#"{"name":"billing","id":"4f1c","address":"10.0.0.1","port":8080,"sslPort":null,
        "payload":{"@class":"com.example.Zone","zone":"eu"},"registrationTimeUTC":1700000000000,
        "serviceType":"DYNAMIC","uriSpec":{"parts":[{"value":"scheme","variable":true},
        {"value":"://","variable":false},{"value":"address","variable":true},{"value":":","variable":false},
        {"value":"port","variable":true}]},"enabled":true,"somethingNew":[1]}"#;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Zone {
        zone: String,
    }

    #[test]
    fn curators_json_is_read_and_written() {
        let read: ServiceInstance<Zone> = serde_json::from_str(CURATOR).unwrap();
        let zone = Zone { zone: "eu".into() };
        let mut expected = ServiceInstance::new("billing")
            .id("4f1c")
            .address("10.0.0.1")
            .port(8080)
            .payload(zone)
            .uri_spec("{scheme}://{address}:{port}");
        expected.registration_time_utc = 1_700_000_000_000;
        assert_eq!(read, expected);
        assert_eq!(read.uri().as_deref(), Some("http://10.0.0.1:8080"));
        let written = serde_json::to_value(&read).unwrap();
        let mut theirs: serde_json::Value = serde_json::from_str(CURATOR).unwrap();
        theirs.as_object_mut().unwrap().remove("somethingNew");
        theirs["payload"].as_object_mut().unwrap().remove("@class");
        assert_eq!(written, theirs);
    }

    #[test]
    fn what_older_versions_leave_out_has_a_meaning() {
        let text = r#"{"name":"a","id":"b","address":null,"serviceType":"DYNAMIC_SEQUENTIAL"}"#;
        let read: ServiceInstance<Zone> = serde_json::from_str(text).unwrap();
        assert!(read.enabled && read.payload.is_none() && read.port.is_none());
        assert_eq!(read.service_type, ServiceType::DynamicSequential);
    }

    #[test]
    fn who_does_not_care_for_payloads_reads_any() {
        let read: ServiceInstance = serde_json::from_str(CURATOR).unwrap();
        assert_eq!((read.id.as_str(), read.payload), ("4f1c", Some(())));
        let absent = r#"{"name":"a","id":"b","payload":null,"serviceType":"SOMETHING_NEW"}"#;
        let read: ServiceInstance = serde_json::from_str(absent).unwrap();
        assert_eq!(read.payload, None);
        assert_eq!(read.service_type, ServiceType::Unknown);
        // It could not say what it is.
        assert!(serde_json::to_string(&read).is_err());
        for (payload, is_zone) in [(r#"{"zone":"eu"}"#, true), ("3", false), ("{}", false)] {
            let text = format!(r#"{{"name":"a","id":"b","payload":{payload}}}"#);
            assert!(serde_json::from_str::<ServiceInstance>(&text).is_ok());
            let zone = serde_json::from_str::<ServiceInstance<Zone>>(&text);
            assert_eq!(zone.is_ok(), is_zone, "{payload}");
        }
    }

    #[test]
    fn payloads_of_every_kind_are_read() {
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        enum Kind {
            Plain,
            Sized(u64),
            Named { name: String },
        }
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        struct All {
            kinds: Vec<Kind>,
            unit: (),
            maybe: Option<(i8, f64, char)>,
            wrapped: Wrapped,
        }
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        struct Wrapped(bool);
        fn back<P>(payload: P)
        where
            P: Clone + PartialEq + std::fmt::Debug + Serialize + serde::de::DeserializeOwned,
        {
            let written = ServiceInstance::new("a").payload(payload.clone());
            let text = serde_json::to_string(&written).unwrap();
            let read: ServiceInstance<P> = serde_json::from_str(&text).unwrap();
            assert_eq!(read.payload, Some(payload));
        }
        back(Kind::Plain);
        back(Kind::Sized(u64::MAX));
        back(Wrapped(true));
        back("text".to_owned());
        back((u128::MAX, i128::MIN));
        // One that borrows from what is read.
        let text = r#"{"name":"a","id":"b","payload":"eu"}"#;
        let read: ServiceInstance<&str> = serde_json::from_str(text).unwrap();
        assert_eq!(read.payload, Some("eu"));
        back(All {
            kinds: vec![Kind::Named { name: "n".into() }, Kind::Plain],
            unit: (),
            maybe: Some((-1, 0.5, 'é')),
            wrapped: Wrapped(false),
        });
    }

    #[test]
    fn templates_are_text_and_variables() {
        let instance: ServiceInstance = ServiceInstance::new("s").address("h").ssl_port(443);
        let instance = instance.uri_spec("{scheme}://{address}:{ssl-port}/{name}{nothing}/x{");
        assert_eq!(instance.uri().as_deref(), Some("https://h:443/s/x{"));
        assert_eq!(UriSpec::new("").parts, []);
    }
}
