//! Answers in dyups' form: no Content-Type, and always a Content-Length.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};

use crate::caller::one_line;

/// Why in full, beside dyups' own few words.
pub(super) const REASON: &str = "x-tidegate-reason";

pub(super) fn text(status: StatusCode, body: impl Into<String>) -> Response {
    let body = body.into();
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    if status != StatusCode::NO_CONTENT {
        response.headers_mut().insert(header::CONTENT_LENGTH, length);
    }
    response
}

pub(super) fn empty(status: StatusCode) -> Response {
    text(status, "")
}

/// A refusal with its reason.
pub(super) fn refusal(status: StatusCode, body: impl Into<String>, reason: &str) -> Response {
    let mut response = text(status, body);
    if let Ok(reason) = HeaderValue::from_str(&one_line(reason)) {
        response.headers_mut().insert(REASON, reason);
    }
    response
}

/// The page that nginx itself answers, where the request never gets to dyups.
pub(super) fn page(status: StatusCode) -> Response {
    let title = match status {
        StatusCode::BAD_REQUEST => "400 Bad Request",
        StatusCode::REQUEST_TIMEOUT => "408 Request Time-out",
        StatusCode::PAYLOAD_TOO_LARGE => "413 Request Entity Too Large",
        _ => "404 Not Found",
    };
    let mut response = text(
        status,
        format!(
            "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n\
             <center><h1>{title}</h1></center>\r\n<hr><center>nginx</center>\r\n\
             </body>\r\n</html>\r\n"
        ),
    );
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response
}
