# Names, and what Redis has to be told. The passwords are ephemeral: they can be passed on, but not kept.

output "names" {
  description = "Names of the secrets, by what they hold."
  value       = { for kind, secret in aws_secretsmanager_secret.this : kind => secret.name }
}

output "redis_password_a" {
  description = "Password of Redis' user `a`, of this run. It reaches Redis only where its version has changed."
  value       = local.redis_passwords.a
  ephemeral   = true
}

output "redis_password_b" {
  description = "The same of user `b`."
  value       = local.redis_passwords.b
  ephemeral   = true
}

output "redis_password_unused" {
  description = "Password of the user `default`, which is off."
  value       = local.redis_passwords.unused
  ephemeral   = true
}

output "redis_versions" {
  description = "Versions of the users' passwords: each changes with every second `redis_version`."
  value = {
    a = floor((var.redis_version + 1) / 2)
    b = floor(var.redis_version / 2) + 1
  }
}

output "versions" {
  description = "Versions of all secrets in one text. It is part of each machine's user data, so that raising one replaces the machines."
  value       = "redis=${var.redis_version} secret=${var.cluster_version} admin-token=${var.admin_version}"

  depends_on = [
    aws_secretsmanager_secret_version.redis,
    aws_secretsmanager_secret_version.cluster,
    aws_secretsmanager_secret_version.admin,
  ]
}
