# One private machine with the OpenTelemetry Collector and Jaeger, both as containers, with the collector's configuration from
# infra/observability. Operators reach Jaeger by forwarding its port through SSM. Jaeger keeps the last 100,000 traces in memory, so
# losing this machine loses traces and nothing else.

locals {
  etc = "/etc/streamfleet-tracing"

  # A service that podman runs on the host's network. Jaeger leaves the OTLP ports to the collector, as in infra/observability/README.md.
  service = <<-EOT
    [Unit]
    Description=%s
    Wants=network-online.target
    After=network-online.target

    [Service]
    ExecStartPre=-/usr/bin/podman rm --force %s
    ExecStart=/usr/bin/podman run --name %s --network host --read-only --cap-drop all --memory %s %s
    ExecStop=/usr/bin/podman stop %s
    Restart=always
    RestartSec=5

    [Install]
    WantedBy=multi-user.target
  EOT

  jaeger    = "--env JAEGER_LISTEN_HOST=127.0.0.1 ${var.images.jaeger} --set receivers.otlp.protocols.grpc.endpoint=127.0.0.1:14317 --set receivers.otlp.protocols.http.endpoint=127.0.0.1:14318 --set extensions.jaeger_query.http.endpoint=127.0.0.1:${var.jaeger_port} --set extensions.jaeger_query.grpc.endpoint=127.0.0.1:16685"
  collector = "--env JAEGER_ENDPOINT=127.0.0.1:14317 --env COLLECTOR_METRICS_HOST=127.0.0.1 --env COLLECTOR_METRICS_PORT=8889 --volume ${local.etc}/collector.yaml:/etc/otelcol-contrib/config.yaml:ro ${var.images.collector} --config=/etc/otelcol-contrib/config.yaml"

  collector_config = join("\n", ["#cloud-config", yamlencode({
    package_update = true
    packages       = ["ca-certificates", "curl", "podman"]
    ssh_pwauth     = false
    disable_root   = true
    write_files = [
      { path = "${local.etc}/collector.yaml", permissions = "0644", content = file("${path.module}/../../../infra/observability/collector.yaml") },
      { path = "/etc/systemd/system/jaeger.service", permissions = "0644", content = format(local.service, "Jaeger", "jaeger", "jaeger", "1500m", local.jaeger, "jaeger") },
      { path = "/etc/systemd/system/otel-collector.service", permissions = "0644", content = format(local.service, "OpenTelemetry Collector", "otel-collector", "otel-collector", "512m", local.collector, "otel-collector") },
      { path = "/usr/local/sbin/install-ssm-agent", permissions = "0755", content = file("${path.module}/files/install-ssm-agent") },
    ]
    runcmd = [
      ["/usr/local/sbin/install-ssm-agent", var.region],
      ["systemctl", "daemon-reload"],
      ["systemctl", "enable", "--now", "jaeger.service", "otel-collector.service"],
    ]
  })])
}

resource "aws_instance" "collector" {
  count = var.collector == null ? 0 : 1

  ami                         = var.collector.image_id
  instance_type               = var.collector.instance_type
  subnet_id                   = var.collector.subnet_id
  vpc_security_group_ids      = [var.collector.security_group_id]
  iam_instance_profile        = var.collector.instance_profile
  associate_public_ip_address = var.collector.public_address
  user_data_base64            = base64gzip(local.collector_config)
  user_data_replace_on_change = true
  ebs_optimized               = true
  monitoring                  = var.collector.detailed_monitoring

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    volume_type = "gp3"
    volume_size = 10
    encrypted   = true
    kms_key_id  = var.kms_key_arn
  }

  tags = { Name = "${var.name}-collector", streamfleet-role = "collector", streamfleet-cluster = var.name }
}
