//! The bearer token of the control plane.

use tonic::{Request, Status, service::Interceptor};

use super::status;
use crate::model::Secret;

/// Lets calls with the right token through; with an empty one, all.
#[derive(Debug, Clone)]
pub(super) struct Bearer {
    token: Secret,
}

impl Bearer {
    pub(super) fn new(token: Secret) -> Self {
        Self { token }
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        if self.token.is_empty() {
            return Ok(request);
        }
        let given = request.metadata().get("authorization").map(|value| value.as_bytes());
        let given = given.and_then(|value| value.split_at_checked(7));
        match given {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") && self.token.matches(token) => {
                Ok(request)
            }
            Some(_) => Err(status::unauthenticated("TOKEN_WRONG", "the admin token is wrong")),
            None => {
                let message = "this call needs `authorization: Bearer <RESIN_ADMIN_TOKEN>`";
                Err(status::unauthenticated("TOKEN_MISSING", message))
            }
        }
    }
}
