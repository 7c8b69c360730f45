# The two roles: what their machines are told, and the groups they are in.

module "gateway_boot" {
  source = "../boot"

  role             = "gateway"
  name             = var.name
  region           = local.region
  release          = var.release
  secrets          = { for kind in local.secrets_of.gateway : kind => module.secrets.names[kind] }
  secrets_versions = module.secrets.versions
  otlp_endpoint    = local.otlp_endpoint
  log_group        = local.log_groups.gateway
  stop_timeout     = var.shutdown.notice + var.shutdown.spread + 15
  settings = merge(
    {
      listen          = "0.0.0.0:${local.ports.gateway}"
      admin_listen    = "127.0.0.1:${local.ports.gateway_admin}"
      shutdown_notice = var.shutdown.notice
      shutdown_spread = var.shutdown.spread
      # Of the VPC, only the load balancer reaches a gateway.
      trusted_proxies = var.network.cidr
    },
    var.gateway.settings,
  )
}

module "gateway" {
  source = "../gateway"

  name                       = var.name
  vpc_id                     = var.network.vpc_id
  subnet_ids                 = local.machine_subnet_ids
  balancer_subnet_ids        = var.internal ? var.network.private_subnet_ids : var.network.public_subnet_ids
  security_group_id          = module.firewall.group_ids["gateway"]
  balancer_security_group_id = module.firewall.group_ids["balancer"]
  instance_profile           = module.iam.instance_profiles["gateway"]
  image_id                   = local.image_id
  user_data                  = module.gateway_boot.user_data
  domain                     = var.domain
  certificate_arn            = var.certificate_arn
  zone_id                    = var.zone_id
  port                       = local.ports.gateway
  base_path                  = var.base_path
  shutdown                   = var.shutdown
  deregistration_delay       = var.deregistration_delay
  instance_type              = var.gateway.instance_type
  size                       = var.gateway.size
  internal                   = var.internal
  public_addresses           = var.machines_in_public_subnets
  deletion_protection        = var.deletion_protection
  access_log_bucket          = var.access_log_bucket
  web_acl_arn                = var.web_acl_arn
  detailed_monitoring        = var.detailed_monitoring
  root_device                = var.root_device
  kms_key_arn                = var.ebs_kms_key_arn
}

module "runner_boot" {
  source = "../boot"

  role             = "runner"
  name             = var.name
  region           = local.region
  release          = var.release
  secrets          = { for kind in local.secrets_of.runner : kind => module.secrets.names[kind] }
  secrets_versions = module.secrets.versions
  app              = local.app
  otlp_endpoint    = local.otlp_endpoint
  log_group        = local.log_groups.runner
  stop_timeout     = var.runner.drain_limit + 30
  packages         = var.runner.packages
  settings = merge(
    {
      listen       = "0.0.0.0:${local.ports.runner}"
      admin_listen = "127.0.0.1:${local.ports.runner_admin}"
      drain_limit  = var.runner.drain_limit
      blobs        = "s3://${module.uploads.bucket}/${local.uploads.prefix}"
    },
    var.runner.settings,
  )
}

module "runner" {
  source = "../runner"

  name                = var.name
  subnet_ids          = local.machine_subnet_ids
  security_group_id   = module.firewall.group_ids["runner"]
  instance_profile    = module.iam.instance_profiles["runner"]
  image_id            = local.image_id
  user_data           = module.runner_boot.user_data
  metrics             = local.metrics
  instance_types      = var.runner.instance_types
  size                = var.runner.size
  sessions_per_runner = var.runner.sessions
  queue_wait          = var.runner.queue_wait
  drain_limit         = var.runner.drain_limit
  terminate_timeout   = var.runner.terminate_timeout
  launch_timeout      = var.runner.launch_timeout
  spot_percent        = var.runner.spot_percent
  on_demand_base      = var.runner.on_demand_base
  warm_pool           = var.runner.warm_pool
  disk_gib            = var.runner.disk_gib
  refresh             = { max_percent = var.runner.roll_percent, alarms = ["${var.name}-errors"] }
  public_addresses    = var.machines_in_public_subnets
  detailed_monitoring = var.detailed_monitoring
  root_device         = var.root_device
  kms_key_arn         = var.ebs_kms_key_arn
}
