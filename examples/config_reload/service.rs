//! The web service: one route that asks the database something.

use std::{future::Future, net::SocketAddr, sync::Arc};

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use serde::Serialize;
use sqlx::Row;
use tokio::net::TcpListener;

use super::pool::LivePool;

/// What `GET /answer` says.
#[derive(Serialize)]
struct Answer {
    banner: String,
    answer: i64,
    max_connections: u32,
}

/// Serves on `listener` until `stop` resolves, then finishes the requests that are running.
///
/// # Errors
/// When the listening socket fails.
pub(crate) async fn serve(
    listener: TcpListener,
    pool: Arc<LivePool>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let app = Router::new().route("/answer", get(answer)).with_state(pool);
    axum::serve(listener, app)
        .with_graceful_shutdown(stop)
        .await
}

async fn answer(State(pool): State<Arc<LivePool>>) -> Result<Json<Answer>, (StatusCode, String)> {
    let lease = pool.lease();
    let row = sqlx::query("SELECT 40 + 2 AS answer")
        .fetch_one(lease.pool())
        .await
        .and_then(|row| {
            row.try_get::<i64, _>("answer")
                .or_else(|_| row.try_get::<i32, _>("answer").map(i64::from))
        })
        .map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    Ok(Json(Answer {
        banner: lease.settings().banner.clone(),
        answer: row,
        max_connections: lease.settings().max_connections,
    }))
}

/// Asks the service once over a connection of its own and returns the banner of the answer.
///
/// # Errors
/// Whatever went wrong, including any status but 200.
pub(crate) async fn ask(
    address: SocketAddr,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    use http_body_util::{BodyExt, Empty};
    use hyper::{Request, body::Bytes, client::conn::http1};
    use hyper_util::rt::TokioIo;

    let stream = tokio::net::TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/answer")
        .header("host", "localhost")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    connection.abort();
    if status != StatusCode::OK {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
    }
    let answer: serde_json::Value = serde_json::from_slice(&body)?;
    Ok(answer["banner"].as_str().unwrap_or_default().to_owned())
}
