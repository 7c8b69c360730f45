# The cheapest thing that works: one gateway, one runner, one Redis node, no NAT gateway. Machines are in public subnets, where nothing
# gets in but the load balancer's requests. A machine that is lost is replaced within minutes, during which nobody is served.

module "network" {
  source = "../../modules/network"

  name   = var.name
  region = var.region
  nat    = "none"
  zones  = 2
}

module "cluster" {
  source = "../../modules/cluster"

  name            = var.name
  network         = module.network
  release         = var.release
  app             = var.app
  revision        = var.revision
  domain          = var.domain
  certificate_arn = var.certificate_arn
  zone_id         = var.zone_id

  gateway = { instance_type = "t3.micro", size = { min = 1, max = 2 } }
  runner  = { instance_types = [var.runner_type], size = { min = 1, max = 3 }, sessions = 50 }
  redis   = { node_type = "cache.t4g.micro", replicas = 0 }
  traces  = { mode = "none" }

  image_id                   = var.image_id
  machines_in_public_subnets = true
  detailed_monitoring        = false
  deletion_protection        = false
  recovery_days              = 0
  log_days                   = 7
}
