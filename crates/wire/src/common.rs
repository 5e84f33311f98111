//! Messages that belong to no one group.
//!
//! Invariant: none of its own. Absent on purpose: how credentials travel (`X-Registry-Auth` is base64 of JSON).

use crate::go::object;

object! {
    /// What every failed request answers with.
    ErrorResponse {
        message: String = "message",
    }

    /// The id of what was made.
    IdResponse {
        id: String = "Id",
    }

    /// Who somebody is to a registry.
    AuthConfig {
        username: String => "username",
        password: String => "password",
        auth: String => "auth",
        server_address: String => "serveraddress",
        identity_token: String => "identitytoken",
        registry_token: String => "registrytoken",
    }

    /// What a registry said to a login.
    AuthResponse {
        identity_token: String => "IdentityToken",
        status: String = "Status",
    }
}

impl ErrorResponse {
    /// An error in these words.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_a_message() {
        let error = ErrorResponse::new("no such container: x");
        let json = serde_json::to_string(&error).unwrap();
        assert_eq!(json, r#"{"message":"no such container: x"}"#);
    }

    #[test]
    fn credentials_leave_out_what_is_not_there() {
        let auth: AuthConfig = serde_json::from_str(
            r#"{"username":"u","password":"p","email":"","serveraddress":"example.com"}"#,
        )
        .unwrap();
        assert_eq!(
            serde_json::to_string(&auth).unwrap(),
            r#"{"username":"u","password":"p","serveraddress":"example.com"}"#
        );
    }
}
