//! Secrets Manager, by AWS' own client.

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;

use crate::AwsError;

/// The names that Secrets Manager gives to versions.
const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";

/// What a secret is now.
pub(crate) async fn current(config: &SdkConfig, id: &str) -> Result<String, AwsError> {
    version(&Client::new(config), id, CURRENT).await
}

/// What it is now, and what it was before, if it was anything.
pub(crate) async fn current_and_previous(config: &SdkConfig, id: &str) -> Result<Vec<String>, AwsError> {
    let client = Client::new(config);
    let current = version(&client, id, CURRENT).await?;
    match version(&client, id, PREVIOUS).await {
        Ok(previous) => Ok(vec![current, previous]),
        Err(error) if error.is_refusal() => Ok(vec![current]),
        Err(error) => Err(error),
    }
}

async fn version(client: &Client, id: &str, stage: &str) -> Result<String, AwsError> {
    const WHAT: &str = "secretsmanager:GetSecretValue";
    let answer = client.get_secret_value().secret_id(id).version_stage(stage).send().await;
    let answer = answer.map_err(|error| AwsError::of_call(WHAT, &error))?;
    let text = answer.secret_string().map(str::to_owned);
    text.ok_or_else(|| AwsError::Refused { what: WHAT, reason: format!("{id} is no text") })
}
