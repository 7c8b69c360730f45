# A role for each kind of machine, with what it calls (terraform/aws/api-calls.txt) and nothing else, on named resources wherever AWS
# lets resources be named. ARNs are put together from names, so that a role can be there before what it is for.

locals {
  prefix = "arn:${var.aws.partition}"
  here   = "${var.aws.region}:${var.aws.account}"

  groups = { for role in ["gateway", "runner"] : role => "${local.prefix}:autoscaling:${local.here}:autoScalingGroup:*:autoScalingGroupName/${var.name}-${role}" }

  life_cycle = { for role, group in local.groups : role => [
    {
      Sid      = "OwnLifeCycle"
      Effect   = "Allow"
      Action   = ["autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat"]
      Resource = group
    },
    {
      # AWS has no resources for these two.
      Sid      = "SeeLifeCycle"
      Effect   = "Allow"
      Action   = ["autoscaling:DescribeAutoScalingInstances", "autoscaling:DescribeLifecycleHooks"]
      Resource = "*"
    },
  ] }

  # Secrets Manager puts a hyphen and six characters behind a name.
  secrets = { for role, names in var.secret_names : role => [{
    Sid      = "OwnSecrets"
    Effect   = "Allow"
    Action   = ["secretsmanager:GetSecretValue"]
    Resource = [for name in names : "${local.prefix}:secretsmanager:${local.here}:secret:${name}-??????"]
  }] }

  logs = { for role in ["gateway", "runner"] : role => [{
    Sid      = "OwnLog"
    Effect   = "Allow"
    Action   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    Resource = ["${local.prefix}:logs:${local.here}:log-group:${var.log_group_names[role]}", "${local.prefix}:logs:${local.here}:log-group:${var.log_group_names[role]}:log-stream:*"]
  }] }

  # Session Manager instead of SSH. The channels have no resources to name.
  operators = [
    {
      Sid      = "BeKnownToSsm"
      Effect   = "Allow"
      Action   = ["ssm:UpdateInstanceInformation"]
      Resource = "${local.prefix}:ec2:${local.here}:instance/*"
    },
    {
      Sid      = "LetOperatorsIn"
      Effect   = "Allow"
      Action   = ["ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel"]
      Resource = "*"
    },
  ]

  release = var.release_object == null ? [] : [{
    Sid      = "Release"
    Effect   = "Allow"
    Action   = ["s3:GetObject"]
    Resource = "${local.prefix}:s3:::${var.release_object}"
  }]

  app_archive = var.app_object == null ? [] : [{
    Sid      = "App"
    Effect   = "Allow"
    Action   = ["s3:GetObject"]
    Resource = "${local.prefix}:s3:::${var.app_object}"
  }]

  app_image = var.app_repository == null ? [] : [
    {
      # A token is for the whole account.
      Sid      = "Registry"
      Effect   = "Allow"
      Action   = ["ecr:GetAuthorizationToken"]
      Resource = "*"
    },
    {
      Sid      = "App"
      Effect   = "Allow"
      Action   = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
      Resource = var.app_repository
    },
  ]

  uploads = [
    {
      Sid      = "Uploads"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
      Resource = "${local.prefix}:s3:::${var.uploads.bucket}/${var.uploads.prefix}/*"
    },
    {
      Sid       = "ListUploads"
      Effect    = "Allow"
      Action    = ["s3:ListBucket"]
      Resource  = "${local.prefix}:s3:::${var.uploads.bucket}"
      Condition = { StringLike = { "s3:prefix" = ["${var.uploads.prefix}/*"] } }
    },
  ]

  load = [{
    # CloudWatch has no resources for this either, but namespaces.
    Sid       = "OwnLoad"
    Effect    = "Allow"
    Action    = ["cloudwatch:PutMetricData"]
    Resource  = "*"
    Condition = { StringEquals = { "cloudwatch:namespace" = var.metrics_namespace } }
  }]

  key = var.kms_key_arn == null ? [] : [{
    Sid      = "Key"
    Effect   = "Allow"
    Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
    Resource = var.kms_key_arn
  }]

  policies = {
    gateway   = concat(local.life_cycle.gateway, local.secrets.gateway, local.logs.gateway, local.operators, local.release, local.key)
    runner    = concat(local.life_cycle.runner, local.secrets.runner, local.logs.runner, local.operators, local.release, local.app_archive, local.app_image, local.uploads, local.load, local.key)
    collector = local.operators
  }
}

resource "aws_iam_role" "this" {
  for_each = local.policies

  name        = "${var.name}-${each.key}"
  description = "Machines of the kind ${each.key} in the Streamfleet cluster ${var.name}"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  for_each = local.policies

  name   = "streamfleet"
  role   = aws_iam_role.this[each.key].id
  policy = jsonencode({ Version = "2012-10-17", Statement = each.value })
}

resource "aws_iam_instance_profile" "this" {
  for_each = aws_iam_role.this

  name = each.value.name
  role = each.value.name
}
