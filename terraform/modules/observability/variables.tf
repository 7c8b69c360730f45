# What the module asks for; what must be given comes first.

variable "name" {
  description = "Name of the cluster."
  type        = string
}

variable "region" {
  description = "Region of the metrics."
  type        = string
}

variable "log_group_names" {
  description = "Names of the log groups to make, by role."
  type        = map(string)
}

variable "metrics" {
  description = "What the runners tell CloudWatch, and under which names."
  type = object({
    namespace  = string
    sessions   = string
    queue_wait = string
    dimension  = string
  })
}

variable "balancer_dimension" {
  description = "The load balancer as CloudWatch calls it."
  type        = string
}

variable "target_group_dimension" {
  description = "The target group as CloudWatch calls it."
  type        = string
}

variable "redis_id" {
  description = "Id of Redis' replication group."
  type        = string
}

variable "collector" {
  description = "Machine for the OpenTelemetry Collector and Jaeger; null where traces go elsewhere or nowhere."
  type = object({
    image_id            = string
    instance_type       = string
    subnet_id           = string
    security_group_id   = string
    instance_profile    = string
    public_address      = bool
    detailed_monitoring = bool
  })
  default = null
}

variable "images" {
  description = "Container images for it: the same versions as in infra/observability/compose.yaml."
  type = object({
    collector = string
    jaeger    = string
  })
  default = {
    collector = "docker.io/otel/opentelemetry-collector-contrib:0.160.0"
    jaeger    = "docker.io/jaegertracing/jaeger:2.20.0"
  }
}

variable "otlp_port" {
  description = "Port that the collector takes traces at, over gRPC."
  type        = number
  default     = 4317
}

variable "jaeger_port" {
  description = "Port of Jaeger's page, on that machine's loopback."
  type        = number
  default     = 16686
}

variable "log_days" {
  description = "Days to keep logs."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731], var.log_days)
    error_message = "log_days is ${var.log_days}: CloudWatch keeps logs for 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545 or 731 days."
  }
}

variable "errors_per_minute" {
  description = "Answers with 5xx a minute, three times in a row, that raise an alarm."
  type        = number
  default     = 10
}

variable "queue_wait_alarm" {
  description = "Milliseconds of waiting for a worker, five minutes in a row, that raise an alarm."
  type        = number
  default     = 500
}

variable "alarm_topics" {
  description = "SNS topics that hear of alarms. Without one they are only seen in the dashboard and by instance refreshes."
  type        = list(string)
  default     = []
}

variable "kms_key_arn" {
  description = "KMS key for logs and the collector's volume; null for AWS' own."
  type        = string
  default     = null
}
