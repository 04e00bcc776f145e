//! The configuration in Kubernetes' form, and what is wrong with one in Kubernetes' words.

use std::collections::BTreeSet;

use http::Uri;
use model::field::{FieldError, Path};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;

use super::mapping::About;
use crate::expression::Expression;
use crate::jws::Algorithm;

/// So many issuers there may be.
const ISSUERS: usize = 64;
const UNVERIFIED: &str = "claims.email_verified must be used in claimMappings.username.expression or \
                          claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email \
                          is used in claimMappings.username.expression";

/// The document.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Document {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    pub(crate) jwt: Vec<Jwt>,
    pub(crate) anonymous: Option<Anonymous>,
}

/// Whether those may ask anything who show nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Anonymous {
    #[serde(default)]
    pub(crate) enabled: bool,
    /// Where they may, if not everywhere.
    #[serde(default)]
    pub(crate) conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Condition {
    #[serde(default)]
    pub(crate) path: String,
}

/// Whose tokens are good, and what they say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Jwt {
    #[serde(default)]
    pub(crate) issuer: Issuer,
    #[serde(default)]
    pub(crate) claim_validation_rules: Vec<ClaimRule>,
    #[serde(default)]
    pub(crate) claim_mappings: Mappings,
    #[serde(default)]
    pub(crate) user_validation_rules: Vec<UserRule>,
    /// How they may be signed; not a field of the document.
    #[serde(skip)]
    pub(crate) algorithms: Option<Vec<Algorithm>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Issuer {
    #[serde(default)]
    pub(crate) url: String,
    #[serde(default, rename = "discoveryURL")]
    pub(crate) discovery_url: String,
    #[serde(default)]
    pub(crate) certificate_authority: String,
    #[serde(default)]
    pub(crate) audiences: Vec<String>,
    #[serde(default)]
    audience_match_policy: String,
    #[serde(default)]
    egress_selector_type: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ClaimRule {
    #[serde(default)]
    pub(crate) claim: String,
    #[serde(default)]
    pub(crate) required_value: String,
    #[serde(default)]
    pub(crate) expression: String,
    #[serde(default)]
    pub(crate) message: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Mappings {
    #[serde(default)]
    pub(crate) username: Prefixed,
    #[serde(default)]
    pub(crate) groups: Prefixed,
    #[serde(default)]
    pub(crate) uid: Bare,
    #[serde(default)]
    pub(crate) extra: Vec<Extra>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Prefixed {
    #[serde(default)]
    pub(crate) claim: String,
    pub(crate) prefix: Option<String>,
    #[serde(default)]
    pub(crate) expression: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Bare {
    #[serde(default)]
    pub(crate) claim: String,
    #[serde(default)]
    pub(crate) expression: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Extra {
    #[serde(default)]
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) value_expression: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct UserRule {
    #[serde(default)]
    pub(crate) expression: String,
    #[serde(default)]
    pub(crate) message: String,
}

/// One issuer, as the `--oidc-…` options tell of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OidcOptions {
    /// `--oidc-issuer-url`
    pub issuer_url: String,
    /// `--oidc-client-id`
    pub client_id: String,
    /// What is in `--oidc-ca-file`, PEM.
    pub authority: String,
    /// `--oidc-username-claim`
    pub username_claim: String,
    /// `--oidc-username-prefix`
    pub username_prefix: String,
    /// `--oidc-groups-claim`
    pub groups_claim: String,
    /// `--oidc-groups-prefix`
    pub groups_prefix: String,
    /// `--oidc-required-claim`, several
    pub required_claims: Vec<(String, String)>,
    /// `--oidc-signing-algs`
    pub signing_algorithms: Vec<String>,
}

impl Document {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let document: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let version = document.api_version.strip_prefix("apiserver.config.k8s.io/");
        // Both have the same form.
        if document.kind != "AuthenticationConfiguration" || !matches!(version, Some("v1" | "v1beta1")) {
            return Err(format!(
                "it has to be an AuthenticationConfiguration of apiserver.config.k8s.io/v1, not {} of {}",
                model::field::quote(&document.kind),
                model::field::quote(&document.api_version),
            ));
        }
        Ok(document)
    }

    /// What the options of before structured configuration say.
    pub(crate) fn of_options(options: &OidcOptions) -> Result<Self, String> {
        let prefix = match options.username_prefix.as_str() {
            "" if options.username_claim == "email" => String::new(),
            "" => format!("{}#", options.issuer_url),
            "-" => String::new(),
            prefix => prefix.to_owned(),
        };
        let algorithm = |name: &String| {
            Algorithm::named(name).ok_or_else(|| {
                let known: Vec<&str> = Algorithm::ALL.iter().map(|one| one.name()).collect();
                format!(
                    "oidc: unsupported signing alg: {name:?}; those that are supported: {}",
                    known.join(", ")
                )
            })
        };
        let algorithms = options.signing_algorithms.iter().map(algorithm).collect::<Result<_, _>>()?;
        let has_groups = !options.groups_claim.is_empty();
        let rules = options.required_claims.iter().map(|(claim, value)| ClaimRule {
            claim: claim.clone(),
            required_value: value.clone(),
            ..ClaimRule::default()
        });
        let jwt = Jwt {
            issuer: Issuer {
                url: options.issuer_url.clone(),
                audiences: vec![options.client_id.clone()],
                certificate_authority: options.authority.clone(),
                ..Issuer::default()
            },
            claim_validation_rules: rules.collect(),
            claim_mappings: Mappings {
                username: Prefixed {
                    claim: options.username_claim.clone(),
                    prefix: Some(prefix),
                    expression: String::new(),
                },
                groups: Prefixed {
                    claim: options.groups_claim.clone(),
                    prefix: has_groups.then(|| options.groups_prefix.clone()),
                    expression: String::new(),
                },
                ..Mappings::default()
            },
            algorithms: Some(algorithms),
            ..Jwt::default()
        };
        Ok(Self { jwt: vec![jwt], ..Self::default() })
    }

    /// What is wrong with it; `own` are the issuers of the server's own tokens.
    pub(crate) fn check(&self, own: &[String]) -> Vec<FieldError> {
        let root = Path::root("jwt");
        if self.jwt.len() > ISSUERS {
            return vec![FieldError::too_many(&root, self.jwt.len(), ISSUERS)];
        }
        let mut errors = Vec::new();
        let (mut urls, mut discovery) = (BTreeSet::new(), BTreeSet::new());
        for (index, jwt) in self.jwt.iter().enumerate() {
            let path = root.index(index);
            jwt.check(own, &path, &mut errors);
            let issuer = path.child("issuer");
            if !urls.insert(&jwt.issuer.url) {
                errors.push(FieldError::duplicate(&issuer.child("url"), jwt.issuer.url.as_str()));
            }
            let other = &jwt.issuer.discovery_url;
            if !other.is_empty() && !discovery.insert(other) {
                errors.push(FieldError::duplicate(&issuer.child("discoveryURL"), other.as_str()));
            }
        }
        if let Some(anonymous) = &self.anonymous
            && !anonymous.enabled
            && !anonymous.conditions.is_empty()
        {
            let paths: Vec<&str> =
                anonymous.conditions.iter().map(|condition| condition.path.as_str()).collect();
            let anonymous = Path::root("anonymous");
            errors.push(FieldError::invalid(
                &anonymous.child("conditions"),
                serde_json::json!(paths),
                "enabled should be set to true when conditions are defined",
            ));
        }
        errors
    }
}

impl Jwt {
    fn check(&self, own: &[String], path: &Path<'_>, errors: &mut Vec<FieldError>) {
        self.issuer.check(own, &path.child("issuer"), errors);
        let is_verified =
            check_rules(&self.claim_validation_rules, &path.child("claimValidationRules"), errors);
        self.claim_mappings.check(is_verified, &path.child("claimMappings"), errors);
        let (rules, mut seen) = (path.child("userValidationRules"), BTreeSet::new());
        for (index, rule) in self.user_validation_rules.iter().enumerate() {
            let path = rules.index(index);
            let path = path.child("expression");
            match rule.expression.as_str() {
                "" => errors.push(FieldError::required(&path, "")),
                again if !seen.insert(again) => errors.push(FieldError::duplicate(&path, again)),
                expression => {
                    read(About::User.rule(expression), expression, &path, errors);
                }
            }
        }
    }
}

impl Issuer {
    fn check(&self, own: &[String], path: &Path<'_>, errors: &mut Vec<FieldError>) {
        let url = path.child("url");
        if self.url.is_empty() {
            errors.push(FieldError::required(&url, ""));
        } else {
            if own.contains(&self.url) {
                let mut own = own.to_vec();
                own.sort();
                let why = format!("URL must not overlap with disallowed issuers: [{}]", own.join(" "));
                errors.push(FieldError::invalid(&url, self.url.as_str(), why));
            }
            check_url(&self.url, &url, errors);
        }
        if !self.discovery_url.is_empty() {
            let place = path.child("discoveryURL");
            if !self.url.is_empty()
                && self.url.trim_end_matches('/') == self.discovery_url.trim_end_matches('/')
            {
                let why = "discoveryURL must be different from URL";
                errors.push(FieldError::invalid(&place, self.discovery_url.as_str(), why));
            }
            check_url(&self.discovery_url, &place, errors);
        }
        self.check_audiences(path, errors);
        if !self.certificate_authority.is_empty() {
            let mut all = CertificateDer::pem_slice_iter(self.certificate_authority.as_bytes());
            let why = match all.next() {
                Some(Ok(_)) => None,
                Some(Err(error)) => Some(error.to_string()),
                None => Some("data does not contain any valid RSA or ECDSA certificates".to_owned()),
            };
            let place = path.child("certificateAuthority");
            errors.extend(why.map(|why| FieldError::invalid(&place, "<omitted>", why)));
        }
        let place = path.child("egressSelectorType");
        match self.egress_selector_type.as_str() {
            "" => {}
            known @ ("controlplane" | "cluster") => {
                errors.push(FieldError::invalid(&place, known, "egress selectors are not supported here"));
            }
            other => {
                let why = "egress selector must be either controlplane or cluster";
                errors.push(FieldError::invalid(&place, other, why));
            }
        }
    }

    fn check_audiences(&self, path: &Path<'_>, errors: &mut Vec<FieldError>) {
        let place = path.child("audiences");
        if self.audiences.is_empty() {
            errors.push(FieldError::required(&place, format!("at least one {place} is required")));
            return;
        }
        let mut seen = BTreeSet::new();
        for (index, audience) in self.audiences.iter().enumerate() {
            let place = place.index(index);
            if audience.is_empty() {
                errors.push(FieldError::required(&place, ""));
            }
            if !seen.insert(audience) {
                errors.push(FieldError::duplicate(&place, audience.as_str()));
            }
        }
        let (place, policy) = (path.child("audienceMatchPolicy"), self.audience_match_policy.as_str());
        let any = "MatchAny";
        if self.audiences.len() > 1 && policy != any {
            let why = "audienceMatchPolicy must be MatchAny for multiple audiences";
            errors.push(FieldError::invalid(&place, policy, why));
        }
        if self.audiences.len() == 1 && !policy.is_empty() && policy != any {
            let why = "audienceMatchPolicy must be empty or MatchAny for single audience";
            errors.push(FieldError::invalid(&place, policy, why));
        }
    }
}

fn check_url(url: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let mut wrong = |why: String| errors.push(FieldError::invalid(path, url, why));
    let (base, fragment) = url.split_once('#').unwrap_or((url, ""));
    let parsed = match base.parse::<Uri>() {
        Ok(parsed) => parsed,
        Err(error) => return wrong(error.to_string()),
    };
    if parsed.scheme_str() != Some("https") {
        wrong("URL scheme must be https".to_owned());
    }
    if parsed.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        wrong("URL must not contain a username or password".to_owned());
    }
    if parsed.query().is_some_and(|query| !query.is_empty()) {
        wrong("URL must not contain a query".to_owned());
    }
    if !fragment.is_empty() {
        wrong("URL must not contain a fragment".to_owned());
    }
}

/// What was read of an expression, unless something is wrong with it.
fn read(
    read: Result<Expression, String>,
    source: &str,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) -> Option<Expression> {
    read.map_err(|why| errors.push(FieldError::invalid(path, source, why))).ok()
}

/// Whether an expression looks whether an address of electronic mail was verified.
fn verifies(expression: Option<&Expression>) -> bool {
    expression.is_some_and(|expression| expression.selects("claims", "email_verified"))
}

/// Whether one of the rules looks whether an address was verified.
fn check_rules(rules: &[ClaimRule], path: &Path<'_>, errors: &mut Vec<FieldError>) -> bool {
    let (mut claims, mut expressions) = (BTreeSet::new(), BTreeSet::new());
    let mut is_verified = false;
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        match (rule.claim.as_str(), rule.expression.as_str()) {
            ("", "") => errors.push(FieldError::required(&path, "claim or expression is required")),
            (claim, "") => {
                if !rule.message.is_empty() {
                    let why = "may not be specified when claim is set";
                    errors.push(FieldError::invalid(&path.child("message"), rule.message.as_str(), why));
                }
                if !claims.insert(claim) {
                    errors.push(FieldError::duplicate(&path.child("claim"), claim));
                }
            }
            ("", expression) => {
                if !rule.required_value.is_empty() {
                    let (place, why) =
                        (path.child("requiredValue"), "may not be specified when expression is set");
                    errors.push(FieldError::invalid(&place, rule.required_value.as_str(), why));
                }
                let place = path.child("expression");
                if expressions.insert(expression) {
                    let rule = read(About::Claims.rule(expression), expression, &place, errors);
                    is_verified |= verifies(rule.as_ref());
                } else {
                    errors.push(FieldError::duplicate(&place, expression));
                }
            }
            (claim, _) => {
                errors.push(FieldError::invalid(&path, claim, "claim and expression can't both be set"));
            }
        }
    }
    is_verified
}

impl Mappings {
    /// `is_verified` tells that a rule looks whether an address was verified.
    fn check(&self, mut is_verified: bool, path: &Path<'_>, errors: &mut Vec<FieldError>) {
        let username = path.child("username");
        let name = self.username.check(&username, true, errors);
        is_verified |= verifies(name.as_ref());
        self.groups.check(&path.child("groups"), false, errors);
        let uid = path.child("uid");
        match (self.uid.claim.as_str(), self.uid.expression.as_str()) {
            (_, "") => {}
            ("", expression) => {
                read(About::Claims.expression(expression), expression, &uid.child("expression"), errors);
            }
            _ => errors.push(FieldError::invalid(&uid, "", "claim and expression can't both be set")),
        }
        let extra = path.child("extra");
        let mut seen = BTreeSet::new();
        for (index, mapping) in self.extra.iter().enumerate() {
            let path = extra.index(index);
            let (place, key) = (path.child("key"), mapping.key.as_str());
            check_key(key, &place, errors);
            if !seen.insert(key) {
                errors.push(FieldError::duplicate(&place, key));
                continue;
            }
            let place = path.child("valueExpression");
            match mapping.value_expression.as_str() {
                "" => errors.push(FieldError::required(&place, "")),
                expression => {
                    let value = read(About::Claims.expression(expression), expression, &place, errors);
                    is_verified |= verifies(value.as_ref());
                }
            }
        }
        // An address that nobody has verified is whatever its owner has put there.
        if name.is_some_and(|name| name.selects("claims", "email")) && !is_verified {
            let place = username.child("expression");
            errors.push(FieldError::invalid(&place, self.username.expression.as_str(), UNVERIFIED));
        }
    }
}

fn check_key(key: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    model::validate::format::domain_prefixed_path(errors, path, key);
    if key.chars().any(char::is_uppercase) {
        errors.push(FieldError::invalid(path, key, "must be lowercase"));
    }
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    if ["kubernetes.io", "k8s.io"].iter().any(|own| domain == *own || domain.ends_with(&format!(".{own}"))) {
        let why = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use";
        errors.push(FieldError::invalid(path, key, why));
    }
}

impl Prefixed {
    fn check(&self, path: &Path<'_>, required: bool, errors: &mut Vec<FieldError>) -> Option<Expression> {
        match (self.claim.as_str(), self.expression.as_str()) {
            ("", "") if required => {
                errors.push(FieldError::required(path, "claim or expression is required"));
            }
            ("", "") => {}
            ("", expression) => {
                if let Some(prefix) = &self.prefix {
                    let why = "may not be specified when expression is set";
                    errors.push(FieldError::invalid(&path.child("prefix"), prefix.as_str(), why));
                }
                return read(
                    About::Claims.expression(expression),
                    expression,
                    &path.child("expression"),
                    errors,
                );
            }
            (_, "") if self.prefix.is_none() => {
                let why = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
                errors.push(FieldError::required(&path.child("prefix"), why));
            }
            (_, "") => {}
            _ => errors.push(FieldError::invalid(path, "", "claim and expression can't both be set")),
        }
        None
    }
}

#[cfg(test)]
mod tests;
