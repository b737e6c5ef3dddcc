//! Broker-wide configs of TLS, delegation tokens and authorization, which RustMQ does not have yet.

use super::{config, unset};
use crate::configs::entry::ConfigEntry;
use crate::configs::entry::ConfigKind::{Boolean, Class, Int, List, Long, Password, String};
use crate::configs::rule::Rule::{Any, OneOf};

#[rustfmt::skip]
pub(super) const ENTRIES: &[ConfigEntry] = &[
    config("authorizer.class.name", String, "", Any, "").absent(),
    config("connection.failed.authentication.delay.ms", Int, "100", Any, "").absent(),
    config("connections.max.reauth.ms", Long, "0", Any, "").absent(),
    config("delegation.token.expiry.check.interval.ms", Long, "3600000", Any, "").absent(),
    config("delegation.token.expiry.time.ms", Long, "86400000", Any, "").absent(),
    config("delegation.token.max.lifetime.ms", Long, "604800000", Any, "").absent(),
    unset("delegation.token.secret.key", Password, Any, "").sensitive().absent(),
    config("principal.builder.class", Class, "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder", Any, "").per_broker().absent(),
    config("security.inter.broker.protocol", String, "PLAINTEXT", Any, "").absent(),
    unset("security.providers", String, Any, "").absent(),
    config("ssl.allow.dn.changes", Boolean, "false", Any, "").absent(),
    config("ssl.allow.san.changes", Boolean, "false", Any, "").absent(),
    config("ssl.cipher.suites", List, "", Any, "").per_broker().absent(),
    config("ssl.client.auth", String, "none", OneOf(&["required", "requested", "none"]), "").per_broker().absent(),
    config("ssl.enabled.protocols", List, "TLSv1.2,TLSv1.3", Any, "").per_broker().absent(),
    config("ssl.endpoint.identification.algorithm", String, "https", Any, "").per_broker().absent(),
    unset("ssl.engine.factory.class", Class, Any, "").per_listener().absent(),
    unset("ssl.key.password", Password, Any, "").per_listener().sensitive().absent(),
    config("ssl.keymanager.algorithm", String, "SunX509", Any, "").per_broker().absent(),
    unset("ssl.keystore.certificate.chain", Password, Any, "").per_listener().sensitive().absent(),
    unset("ssl.keystore.key", Password, Any, "").per_listener().sensitive().absent(),
    unset("ssl.keystore.location", String, Any, "").per_listener().absent(),
    unset("ssl.keystore.password", Password, Any, "").per_listener().sensitive().absent(),
    config("ssl.keystore.type", String, "JKS", Any, "").per_listener().absent(),
    config("ssl.principal.mapping.rules", String, "DEFAULT", Any, "").absent(),
    config("ssl.protocol", String, "TLSv1.3", Any, "").per_broker().absent(),
    unset("ssl.provider", String, Any, "").per_broker().absent(),
    unset("ssl.secure.random.implementation", String, Any, "").per_broker().absent(),
    config("ssl.trustmanager.algorithm", String, "PKIX", Any, "").per_broker().absent(),
    unset("ssl.truststore.certificates", Password, Any, "").per_listener().sensitive().absent(),
    unset("ssl.truststore.location", String, Any, "").per_listener().absent(),
    unset("ssl.truststore.password", Password, Any, "").per_listener().sensitive().absent(),
    config("ssl.truststore.type", String, "JKS", Any, "").per_listener().absent(),
];
