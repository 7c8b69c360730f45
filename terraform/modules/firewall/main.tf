# Who may talk to whom: one security group for each kind of machine and one line for each way between them. Whatever is not in
# these tables is closed; there is no SSH, operators come in through SSM.

locals {
  groups = {
    balancer  = "Takes browsers in from everywhere and hands them to gateways"
    gateway   = "Serves browsers that come by the load balancer"
    runner    = "Runs the app for gateways"
    redis     = "Redis for gateways and runners"
    collector = "Takes traces from gateways and runners"
  }

  # From one group to another. Both ends get a rule, as nothing may leave that isn't named either.
  ways = {
    balancer-gateway  = { from = "balancer", to = "gateway", port = var.ports.gateway, why = "Browsers, by way of the load balancer, and its health checks" }
    gateway-runner    = { from = "gateway", to = "runner", port = var.ports.runner, why = "gRPC" }
    gateway-redis     = { from = "gateway", to = "redis", port = var.ports.redis, why = "Registry and pins" }
    runner-redis      = { from = "runner", to = "redis", port = var.ports.redis, why = "Registry, snapshots and cache" }
    gateway-collector = { from = "gateway", to = "collector", port = var.ports.collector, why = "Traces" }
    runner-collector  = { from = "runner", to = "collector", port = var.ports.collector, why = "Traces" }
  }

  # Out of the VPC: AWS' own interfaces, Debian's mirrors (which are plain HTTP, with signed contents), PyPI.
  outwards = merge(
    { for role in ["gateway", "runner", "collector"] : "${role}-https" => { group = role, port = 443, cidr = "0.0.0.0/0", why = "AWS, the release, Python packages" } },
    { for role in ["gateway", "runner", "collector"] : "${role}-http" => { group = role, port = 80, cidr = "0.0.0.0/0", why = "Mirrors of Debian" } },
    { for way in var.app_egress : "app-${way.port}-${way.cidr}" => { group = "runner", port = way.port, cidr = way.cidr, why = "What the app asks" } },
  )

  inwards = {
    for pair in setproduct([80, 443], var.allowed_cidrs) : "${pair[0]}-${pair[1]}" => { port = pair[0], cidr = pair[1] }
  }
}

resource "aws_security_group" "this" {
  #checkov:skip=CKV2_AWS_5:They are used by other modules, which checkov doesn't follow

  for_each = local.groups

  name                   = "${var.name}-${each.key}"
  description            = each.value
  vpc_id                 = var.vpc_id
  revoke_rules_on_delete = true

  tags = { Name = "${var.name}-${each.key}" }
}

resource "aws_security_group_rule" "browsers" {
  for_each = local.inwards

  description       = each.value.port == 80 ? "Browsers that are sent on to HTTPS" : "Browsers"
  type              = "ingress"
  security_group_id = aws_security_group.this["balancer"].id
  protocol          = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  cidr_blocks       = [each.value.cidr]
}

resource "aws_security_group_rule" "way_out" {
  for_each = local.ways

  description              = each.value.why
  type                     = "egress"
  security_group_id        = aws_security_group.this[each.value.from].id
  source_security_group_id = aws_security_group.this[each.value.to].id
  protocol                 = "tcp"
  from_port                = each.value.port
  to_port                  = each.value.port
}

resource "aws_security_group_rule" "way_in" {
  for_each = local.ways

  description              = each.value.why
  type                     = "ingress"
  security_group_id        = aws_security_group.this[each.value.to].id
  source_security_group_id = aws_security_group.this[each.value.from].id
  protocol                 = "tcp"
  from_port                = each.value.port
  to_port                  = each.value.port
}

#trivy:ignore:AVD-AWS-0104 Mirrors, PyPI and AWS have no fixed addresses, and the app asks what it likes; only ports 80 and 443
resource "aws_security_group_rule" "outwards" {
  for_each = local.outwards

  description       = each.value.why
  type              = "egress"
  security_group_id = aws_security_group.this[each.value.group].id
  protocol          = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  cidr_blocks       = [each.value.cidr]
}
