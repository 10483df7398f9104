//! Why a request goes no further than the edge.

use axum::http::HeaderValue;
use axum::http::header::ALLOW;
use axum::response::{IntoResponse, Response};

use crate::limits::Standing;
use crate::problem::{Code, Problem};

/// Why a request goes no further.
pub(super) enum Refused {
    Problem(Problem),
    Limited(Problem, Standing),
    /// With the methods that the path has.
    Method(HeaderValue),
    /// It only wanted to know whether it may.
    Asked(Response),
}

impl From<Problem> for Box<Refused> {
    fn from(problem: Problem) -> Self {
        Box::new(Refused::Problem(problem))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (problem, standing) = match self {
            Self::Asked(answer) => return answer,
            Self::Method(allow) => {
                let mut answer = Problem::new(Code::MethodNotAllowed).into_response();
                answer.headers_mut().insert(ALLOW, allow);
                return answer;
            }
            Self::Problem(problem) => (problem, None),
            Self::Limited(problem, standing) => (problem, Some(standing)),
        };
        let mut answer = problem.into_response();
        if let Some(standing) = standing {
            standing.write(answer.headers_mut());
        }
        answer
    }
}
