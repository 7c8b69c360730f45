# The user data, as launch templates take it and as people read it.

output "user_data" {
  description = "Compressed and in base64, for a launch template."
  value       = base64gzip(local.cloud_config)

  precondition {
    condition     = length(base64gzip(local.cloud_config)) <= 16384 * 4 / 3
    error_message = "The user data has ${length(base64gzip(local.cloud_config))} characters, but EC2 takes no more than 16 KiB: shorten settings or packages."
  }
}

output "cloud_config" {
  description = "The same, to be read."
  value       = local.cloud_config
}

output "command" {
  description = "What the unit starts."
  value       = "${local.command} --config ${local.etc}/streamfleet.toml"
}
