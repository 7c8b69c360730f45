# The user data of a gateway or runner, as cloud-config: settings, three scripts, systemd drop-ins for the units that the release brings,
# and one command. Nothing here is secret; the machine fetches what is.

locals {
  # Paths of the release (infra/) and of our own.
  etc     = "/etc/streamfleet"
  lib     = "/usr/local/lib/streamfleet"
  secrets = "${local.etc}/secrets"
  app     = "/srv/streamfleet/app"
  unit    = "streamfleet-${var.role}.service"
  log     = "/var/log/streamfleet/${var.role}.log"

  settings = merge(
    {
      cluster          = var.name
      log_format       = "json"
      admin_token_file = "${local.secrets}/admin-token"
      # Completes the hooks of the modules gateway and runner.
      aws_lifecycle = "on"
    },
    # What the scaling policies of the module runner follow.
    var.role == "runner" ? { aws_metrics = "on" } : {},
    contains(keys(var.secrets), "secret") ? { secret_file = "${local.secrets}/secret" } : {},
    contains(keys(var.secrets), "tls-${var.role}") ? {
      peer_ca_file    = "${local.secrets}/ca.pem"
      peer_cert_file  = "${local.secrets}/cert.pem"
      peer_key_file   = "${local.secrets}/key.pem"
      allow_plaintext = false
      } : {
      # Security groups let nobody but gateways reach a runner. Without this the two refuse to speak.
      peer_ca_file    = null
      peer_cert_file  = null
      peer_key_file   = null
      allow_plaintext = true
    },
    var.app == null ? {} : {
      revision  = var.app.revision
      cache_dir = "/var/lib/streamfleet/cache"
    },
    var.otlp_endpoint == null ? {} : { otlp_endpoint = var.otlp_endpoint },
    var.settings,
  )

  command = var.role == "runner" ? "/usr/bin/streamfleet runner ${local.app}/${var.app.script}" : "/usr/bin/streamfleet gateway"

  boot_env = {
    ROLE           = var.role
    OTHER_ROLE     = var.role == "runner" ? "gateway" : "runner"
    REGION         = var.region
    METADATA       = var.metadata_url
    RELEASE_URL    = var.release.url
    RELEASE_SHA256 = var.release.sha256
    SECRETS        = join(" ", [for kind, name in var.secrets : "${kind}=${name}"])
    # Not read by anything: where it changes, machines are replaced.
    SECRETS_VERSIONS = var.secrets_versions
    LOG_GROUP        = var.log_group == null ? "" : var.log_group
    APP_KIND         = var.app == null ? "" : var.app.kind
    APP_SOURCE       = var.app == null ? "" : replace(var.app.source, "{revision}", var.app.revision)
    APP_REVISION     = var.app == null ? "" : var.app.revision
    APP_PATH         = var.app == null ? "" : var.app.path
    APP_SCRIPT       = var.app == null ? "" : var.app.script
  }

  drop_in = <<-EOT
    # Written by Terraform (terraform/modules/boot).
    [Unit]
    Wants=network-online.target
    After=network-online.target

    [Service]
    EnvironmentFile=${local.etc}/instance.env
    EnvironmentFile=${local.secrets}/environment
    ExecStart=
    ExecStart=${local.command} --config ${local.etc}/streamfleet.toml
    TimeoutStopSec=${var.stop_timeout}
    StandardOutput=append:${local.log}
    StandardError=append:${local.log}
  EOT

  secrets_service = <<-EOT
    [Unit]
    Description=Fetch Streamfleet's secrets
    Wants=network-online.target
    After=network-online.target

    [Service]
    Type=oneshot
    ExecStart=${local.lib}/streamfleet-secrets
  EOT

  secrets_timer = <<-EOT
    [Unit]
    Description=Fetch Streamfleet's secrets again, as they may have been rotated

    [Timer]
    OnActiveSec=15min
    OnUnitActiveSec=15min
    RandomizedDelaySec=2min

    [Install]
    WantedBy=timers.target
  EOT

  cloudwatch_agent = {
    logs = {
      logs_collected = {
        files = {
          collect_list = [{
            file_path       = local.log
            log_group_name  = var.log_group
            log_stream_name = "{instance_id}"
          }]
        }
      }
    }
  }

  files = concat(
    [for script in ["streamfleet-boot", "streamfleet-secrets", "streamfleet-app"] : {
      path        = "${local.lib}/${script}"
      permissions = "0755"
      content     = file("${path.module}/files/${script}")
    } if script != "streamfleet-app" || var.app != null],
    [
      { path = "${local.etc}/boot.env", permissions = "0644", content = join("", [for key, value in local.boot_env : "${key}='${replace(value, "'", "'\\''")}'\n"]) },
      # JSON's numbers, booleans and texts are TOML's as well.
      { path = "${local.etc}/streamfleet.toml", permissions = "0644", content = join("", [for key, value in local.settings : "${key} = ${jsonencode(value)}\n" if value != null]) },
      { path = "/etc/systemd/system/${local.unit}.d/50-terraform.conf", permissions = "0644", content = local.drop_in },
      { path = "/etc/systemd/system/streamfleet-secrets.service", permissions = "0644", content = local.secrets_service },
      { path = "/etc/systemd/system/streamfleet-secrets.timer", permissions = "0644", content = local.secrets_timer },
      { path = "/etc/logrotate.d/streamfleet", permissions = "0644", content = "${local.log} {\n  size 50M\n  rotate 4\n  compress\n  missingok\n  copytruncate\n}\n" },
    ],
    var.log_group == null ? [] : [
      { path = "${local.etc}/cloudwatch-agent.json", permissions = "0644", content = jsonencode(local.cloudwatch_agent) },
    ],
  )

  packages = concat(
    ["awscli", "ca-certificates", "curl", "logrotate", "python3"],
    var.app == null ? [] : ["python3-venv", "unzip"],
    try(var.app.kind, "") == "git" ? ["git"] : [],
    try(var.app.kind, "") == "image" ? ["podman"] : [],
    var.packages,
  )

  cloud_config = join("\n", ["#cloud-config", yamlencode({
    package_update = true
    packages       = local.packages
    ssh_pwauth     = false
    disable_root   = true
    write_files    = local.files
    runcmd         = [["${local.lib}/streamfleet-boot"]]
  })])
}
