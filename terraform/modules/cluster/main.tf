# A whole cluster from its parts. This is the one place where ports, times and names are decided; the parts are told.

data "aws_caller_identity" "here" {}

data "aws_partition" "here" {}

data "aws_region" "here" {}

# Debian's newest image of this release, as Debian itself publishes it.
data "aws_ssm_parameter" "debian" {
  count = var.image_id == null ? 1 : 0

  name = "/aws/service/debian/release/12/latest/amd64"
}

locals {
  region   = data.aws_region.here.region
  image_id = var.image_id == null ? nonsensitive(data.aws_ssm_parameter.debian[0].value) : var.image_id

  # Where each process listens: the defaults of docs/cluster.md, infra/observability and Redis.
  ports = { gateway = 8501, gateway_admin = 8502, runner = 8601, runner_admin = 8602, redis = 6379, collector = 4317, jaeger = 16686 }

  # What runners tell CloudWatch, and where it is looked for.
  metrics = { namespace = "Streamfleet", sessions = "SessionsPerRunner", queue_wait = "QueueWait", dimension = "Cluster" }

  log_groups = { gateway = "/${var.name}/gateway", runner = "/${var.name}/runner" }

  uploads = { bucket = "${var.name}-uploads-${data.aws_caller_identity.here.account_id}", prefix = "uploads" }

  secrets_of = {
    gateway = concat(["redis", "admin-token"], var.mtls ? ["tls-gateway"] : [])
    runner  = concat(["redis", "admin-token", "secret"], var.mtls ? ["tls-runner"] : [])
  }

  # The sources that are in AWS, for the roles that are to read them.
  in_s3          = { for what, url in { release = var.release.url, app = var.app.archive } : what => trimprefix(url, "s3://") if url != null && startswith(coalesce(url, "-"), "s3://") }
  ecr_repository = try(regex("^(\\d{12})\\.dkr\\.ecr\\.([a-z0-9-]+)\\.amazonaws\\.com(?:\\.cn)?/([a-z0-9/_.-]+)", var.app.image), null)

  app = {
    kind     = var.app.archive != null ? "archive" : var.app.git != null ? "git" : "image"
    source   = coalesce(var.app.archive, var.app.git, var.app.image)
    revision = var.revision
    path     = var.app.path
    script   = var.app.script
  }

  machine_subnet_ids = var.machines_in_public_subnets ? var.network.public_subnet_ids : var.network.private_subnet_ids
  otlp_endpoint      = var.traces.mode == "own" ? module.observability.otlp_endpoint : var.traces.endpoint
}

module "firewall" {
  source = "../firewall"

  name          = var.name
  vpc_id        = var.network.vpc_id
  ports         = { for kind in ["gateway", "runner", "redis", "collector"] : kind => local.ports[kind] }
  allowed_cidrs = var.allowed_cidrs
  app_egress    = var.app_egress
}

module "secrets" {
  source = "../secrets"

  name            = var.name
  redis           = { host = module.redis.host, port = local.ports.redis, user_prefix = module.redis.user_prefix }
  redis_version   = var.secret_versions.redis
  cluster_version = var.secret_versions.cluster
  admin_version   = var.secret_versions.admin
  mtls            = var.mtls
  kms_key_arn     = var.kms_key_arn
  recovery_days   = var.recovery_days
}

module "redis" {
  source = "../redis"

  name              = var.name
  subnet_ids        = var.network.private_subnet_ids
  security_group_id = module.firewall.group_ids["redis"]
  password_a        = module.secrets.redis_password_a
  password_b        = module.secrets.redis_password_b
  password_unused   = module.secrets.redis_password_unused
  password_versions = module.secrets.redis_versions
  port              = local.ports.redis
  engine            = var.redis.engine
  node_type         = var.redis.node_type
  replicas          = var.redis.replicas
  snapshot_days     = var.redis.snapshot_days
  kms_key_arn       = var.kms_key_arn
}

module "uploads" {
  source = "../uploads"

  bucket      = local.uploads.bucket
  partition   = data.aws_partition.here.partition
  kms_key_arn = var.kms_key_arn
}

module "iam" {
  source = "../iam"

  name              = var.name
  aws               = { partition = data.aws_partition.here.partition, region = local.region, account = data.aws_caller_identity.here.account_id }
  secret_names      = { for role, kinds in local.secrets_of : role => [for kind in kinds : "${var.name}/${kind}"] }
  log_group_names   = local.log_groups
  uploads           = local.uploads
  metrics_namespace = local.metrics.namespace
  release_object    = lookup(local.in_s3, "release", null)
  app_object        = try(replace(local.in_s3["app"], "{revision}", "*"), null)
  app_repository    = try("arn:${data.aws_partition.here.partition}:ecr:${local.ecr_repository[1]}:${local.ecr_repository[0]}:repository/${local.ecr_repository[2]}", null)
  kms_key_arn       = var.kms_key_arn
}

module "observability" {
  source = "../observability"

  name                   = var.name
  region                 = local.region
  log_group_names        = local.log_groups
  log_days               = var.log_days
  metrics                = local.metrics
  balancer_dimension     = module.gateway.balancer_dimension
  target_group_dimension = module.gateway.target_group_dimension
  redis_id               = module.redis.replication_group_id
  alarm_topics           = var.alarm_topics
  otlp_port              = local.ports.collector
  jaeger_port            = local.ports.jaeger
  kms_key_arn            = var.kms_key_arn

  collector = var.traces.mode != "own" ? null : {
    image_id            = local.image_id
    instance_type       = var.traces.instance_type
    subnet_id           = local.machine_subnet_ids[0]
    security_group_id   = module.firewall.group_ids["collector"]
    instance_profile    = module.iam.instance_profiles["collector"]
    public_address      = var.machines_in_public_subnets
    detailed_monitoring = var.detailed_monitoring
  }
}
