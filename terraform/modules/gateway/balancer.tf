# The load balancer in front of gateways: HTTPS for browsers, plain HTTP within the VPC, no stickiness.

#trivy:ignore:AVD-AWS-0053 It is for browsers from everywhere, unless `internal` or `allowed_cidrs` say otherwise
resource "aws_lb" "this" {
  #checkov:skip=CKV2_AWS_76:Whether to put WAF in front, and with which rules, is the user's choice (web_acl_arn)
  #checkov:skip=CKV2_AWS_28:The same
  #checkov:skip=CKV_AWS_91:A log needs a bucket that is the user's to name (access_log_bucket)
  #checkov:skip=CKV_AWS_150:On unless the user, or the environment `minimal`, says otherwise (deletion_protection)
  #checkov:skip=CKV2_AWS_103:The listener on 80 only redirects

  name               = var.name
  load_balancer_type = "application"
  internal           = var.internal
  subnets            = var.balancer_subnet_ids
  security_groups    = [var.balancer_security_group_id]

  # A browser that nobody clicks in still sends pings twice a minute. An hour leaves slow requests alone too.
  idle_timeout               = 3600
  drop_invalid_header_fields = true
  enable_http2               = true
  enable_deletion_protection = var.deletion_protection

  dynamic "access_logs" {
    for_each = var.access_log_bucket == null ? [] : [var.access_log_bucket]

    content {
      bucket  = access_logs.value
      prefix  = var.name
      enabled = true
    }
  }
}

resource "aws_lb_target_group" "this" {
  name        = var.name
  vpc_id      = var.vpc_id
  port        = var.port
  protocol    = "HTTP"
  target_type = "instance"

  load_balancing_algorithm_type = "least_outstanding_requests"

  # Longer than a gateway takes to send its browsers elsewhere, so that it's never the load balancer that cuts them off.
  deregistration_delay = var.deregistration_delay

  # On the public port, so that the admin listener can stay on loopback. It answers 503 from the moment a gateway is told to end.
  health_check {
    path                = "${var.base_path}/_stcore/health"
    port                = "traffic-port"
    protocol            = "HTTP"
    matcher             = "200"
    interval            = var.health_check.interval
    timeout             = var.health_check.timeout
    healthy_threshold   = 2
    unhealthy_threshold = var.health_check.failures
  }

  stickiness {
    type    = "lb_cookie"
    enabled = false
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.this.arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = var.certificate_arn

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this.arn
  }
}

resource "aws_lb_listener" "redirect" {
  load_balancer_arn = aws_lb.this.arn
  port              = 80
  protocol          = "HTTP"

  default_action {
    type = "redirect"

    redirect {
      port        = "443"
      protocol    = "HTTPS"
      status_code = "HTTP_301"
    }
  }
}

resource "aws_wafv2_web_acl_association" "this" {
  count = var.web_acl_arn == null ? 0 : 1

  resource_arn = aws_lb.this.arn
  web_acl_arn  = var.web_acl_arn
}

resource "aws_route53_record" "this" {
  count = var.zone_id == null ? 0 : 1

  zone_id = var.zone_id
  name    = var.domain
  type    = "A"

  alias {
    name                   = aws_lb.this.dns_name
    zone_id                = aws_lb.this.zone_id
    evaluate_target_health = true
  }
}
