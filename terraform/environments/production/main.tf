# Three zones, and whatever is one of its kind is there more than once: gateways, runners, Redis, NAT gateways. A lost zone is not noticed.

module "network" {
  source = "../../modules/network"
  count  = var.network == null ? 1 : 0

  name          = var.name
  region        = var.region
  nat           = "each_zone"
  zones         = 3
  flow_log_days = 30
}

module "cluster" {
  source = "../../modules/cluster"

  name            = var.name
  network         = var.network == null ? module.network[0] : var.network
  release         = var.release
  app             = var.app
  revision        = var.revision
  domain          = var.domain
  certificate_arn = var.certificate_arn
  zone_id         = var.zone_id

  gateway = { instance_type = var.gateway_type, size = var.gateways }
  runner = {
    instance_types = var.runner_types
    size           = var.runners
    sessions       = var.sessions_per_runner
    spot_percent   = var.spot_percent
    drain_limit    = var.drain_limit
    on_demand_base = 3
    disk_gib       = 30
  }
  redis  = { node_type = var.redis_type, replicas = 2, snapshot_days = 7 }
  traces = var.traces

  mtls              = var.mtls
  secret_versions   = var.secret_versions
  allowed_cidrs     = var.allowed_cidrs
  app_egress        = var.app_egress
  access_log_bucket = var.access_log_bucket
  web_acl_arn       = var.web_acl_arn
  alarm_topics      = var.alarm_topics
  kms_key_arn       = var.kms_key_arn
  log_days          = 90

  image_id            = var.image_id
  deletion_protection = var.deletion_protection
}
