# What gateways and runners must know and nobody else may: kept in Secrets Manager, fetched by each machine with its own role when it
# starts and every few minutes after (terraform/modules/boot/files/streamfleet-secrets).

locals {
  # Odd versions are user a's, even ones b's. So the one before goes on working until every machine has been replaced.
  redis_user = var.redis_version % 2 == 1 ? "a" : "b"
}

resource "aws_secretsmanager_secret" "this" {
  #checkov:skip=CKV2_AWS_57:Rotated by raising a version (secret_versions), as machines have to be replaced with it
  #checkov:skip=CKV_AWS_149:Secrets Manager encrypts with its own key; another one is the user's choice (kms_key_arn)

  for_each = merge(
    {
      redis       = "Address of Redis, with user and password; both roles"
      secret      = "The cluster's secret; runners"
      admin-token = "What operators show to the admin listeners; both roles"
    },
    var.mtls ? {
      tls-gateway = "JSON with ca, cert and key, in PEM: how gateways are known to runners. Written by terraform/certificates"
      tls-runner  = "JSON with ca, cert and key, in PEM: how runners are known to gateways. Written by terraform/certificates"
    } : {},
  )

  name                    = "${var.name}/${each.key}"
  description             = each.value
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = var.recovery_days
}

resource "aws_secretsmanager_secret_version" "redis" {
  secret_id = aws_secretsmanager_secret.this["redis"].id
  # The user's name is not a secret, so it may decide. The password is made of letters and digits and needs no escaping.
  secret_string_wo         = "rediss://${var.redis.user_prefix}-${local.redis_user}:${local.redis_passwords[local.redis_user]}@${var.redis.host}:${var.redis.port}"
  secret_string_wo_version = var.redis_version
}

resource "aws_secretsmanager_secret_version" "cluster" {
  secret_id                = aws_secretsmanager_secret.this["secret"].id
  secret_string_wo         = local.cluster_secret
  secret_string_wo_version = var.cluster_version
}

resource "aws_secretsmanager_secret_version" "admin" {
  secret_id                = aws_secretsmanager_secret.this["admin-token"].id
  secret_string_wo         = local.admin_token
  secret_string_wo_version = var.admin_version
}
