# What the module asks for; what must be given comes first.

variable "name" {
  description = "Name of the cluster."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets for the runners."
  type        = list(string)
}

variable "security_group_id" {
  description = "Security group of the runners, which lets only gateways in."
  type        = string
}

variable "instance_profile" {
  description = "Name of the runners' instance profile."
  type        = string
}

variable "image_id" {
  description = "Machine image: Debian 12, or one with the release in it."
  type        = string
}

variable "user_data" {
  description = "What the module `boot` wrote, in base64. A change of it, such as another revision, rolls the runners."
  type        = string
}

variable "drain_limit" {
  description = "The runner's own `drain_limit`, in seconds, which the times of Auto Scaling are held against."
  type        = number

  validation {
    condition     = var.drain_limit >= 1 && var.drain_limit <= 6900
    error_message = "drain_limit is ${var.drain_limit} s: give 1 to 6900, as a life-cycle hook waits for 7200 s at most."
  }

  validation {
    condition     = var.spot_percent == 0 || var.drain_limit <= 100
    error_message = "drain_limit is ${var.drain_limit} s, but a Spot machine is gone two minutes after its notice: give at most 100 with spot_percent, or set spot_percent to 0."
  }
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

variable "instance_types" {
  description = "Sizes of a runner. The first is the one that counts; further ones, of like size, are for Spot."
  type        = list(string)
  default     = ["m7i.large"]

  validation {
    condition     = length(var.instance_types) > 0 && (var.spot_percent == 0 || length(var.instance_types) >= 2)
    error_message = "instance_types is ${jsonencode(var.instance_types)}: give at least one, and with spot_percent at least two, so that there is something to move to."
  }
}

variable "size" {
  description = "Fewest and most runners. With one, a machine that is lost takes until its replacement is there; with two or more nobody notices."
  type = object({
    min = number
    max = number
  })
  default = { min = 2, max = 10 }

  validation {
    condition     = var.size.min >= 1 && var.size.max > var.size.min
    error_message = "size is ${jsonencode(var.size)}: min has to be 1 or more, and max above it, as a roll starts a new runner before an old one goes."
  }
}

variable "sessions_per_runner" {
  description = "Connected sessions a runner that their number is held at. Measure your app: it is a matter of its memory and of how often users click."
  type        = number
  default     = 200

  validation {
    condition     = var.sessions_per_runner >= 1
    error_message = "sessions_per_runner is ${var.sessions_per_runner}: give 1 or more."
  }
}

variable "queue_wait" {
  description = "Milliseconds that a run may wait for its worker, on average, before runners are added."
  type        = number
  default     = 100

  validation {
    condition     = var.queue_wait > 0
    error_message = "queue_wait is ${var.queue_wait} ms: give more than 0."
  }
}

variable "launch_timeout" {
  description = "Seconds within which a new runner must be ready: installation, the app's Python packages, and its workers."
  type        = number
  default     = 900

  validation {
    condition     = var.launch_timeout >= 180 && var.launch_timeout <= 7200
    error_message = "launch_timeout is ${var.launch_timeout} s: a machine takes at least three minutes to install an app, and Auto Scaling allows 7200."
  }
}

variable "terminate_timeout" {
  description = "Seconds for which a runner's machine is kept for its drain. It doesn't rely on the runner's heartbeats: one that only drains has time enough too."
  type        = number
  default     = 300

  validation {
    condition     = var.terminate_timeout >= var.drain_limit + 60 && var.terminate_timeout <= 7200
    error_message = "terminate_timeout is ${var.terminate_timeout} s, but a drain may take ${var.drain_limit} s (drain_limit), and hearing of it, stopping and saying so another 60: give at least ${var.drain_limit + 60}, at most 7200."
  }
}

variable "warmup" {
  description = "Seconds after which a ready runner counts in figures and the next one is replaced in a roll."
  type        = number
  default     = 60

  validation {
    condition     = var.warmup >= 30
    error_message = "warmup is ${var.warmup} s: give at least 30, so that an app that fails at once is seen before the next runner goes."
  }
}

variable "refresh" {
  description = "How a roll goes: how many percent of the runners there may be at most meanwhile, and which alarms stop it and take it back."
  type = object({
    max_percent = optional(number, 110)
    alarms      = optional(list(string), [])
  })
  default = {}

  validation {
    condition     = var.refresh.max_percent > 100 && var.refresh.max_percent <= 200
    error_message = "refresh.max_percent is ${var.refresh.max_percent}: give 101 to 200, as a new runner has to be there before an old one goes."
  }

  # Rounds of a roll, times the longest that each may take.
  validation {
    condition     = ceil(var.size.max / max(1, floor(var.size.max * (var.refresh.max_percent - 100) / 100))) * (var.launch_timeout + var.terminate_timeout + var.warmup) <= 14 * 86400
    error_message = "A roll over ${var.size.max} runners could take longer than the 14 days that Auto Scaling allows: raise refresh.max_percent, or lower launch_timeout, terminate_timeout or warmup."
  }
}

variable "spot_percent" {
  description = "Share of runners above `on_demand_base` that are Spot machines. Sessions move when one is taken away, within its two minutes."
  type        = number
  default     = 0

  validation {
    condition     = var.spot_percent >= 0 && var.spot_percent <= 100
    error_message = "spot_percent is ${var.spot_percent}: give 0 to 100."
  }

  validation {
    condition     = var.spot_percent == 0 || var.warm_pool == null
    error_message = "spot_percent is ${var.spot_percent} and there is a warm_pool: Auto Scaling has no warm pools for groups with Spot. Choose one."
  }
}

variable "on_demand_base" {
  description = "Runners that are never Spot machines."
  type        = number
  default     = 1
}

variable "warm_pool" {
  description = "Stopped machines that are installed already, for a faster start: fewest, and most that are prepared, running ones included. Null for none."
  type = object({
    min          = number
    max_prepared = number
  })
  default = null
}

variable "public_addresses" {
  description = "Whether runners get public addresses, as they need in public subnets to get out at all. Nothing gets in by them."
  type        = bool
  default     = false
}

variable "disk_gib" {
  description = "Size of the encrypted root volume: the system, the app and its Python packages."
  type        = number
  default     = 20
}

variable "root_device" {
  description = "Name of the image's root device."
  type        = string
  default     = "/dev/xvda"
}

variable "kms_key_arn" {
  description = "KMS key for the volume, which Auto Scaling's service role has to be allowed to use; null for EBS' own."
  type        = string
  default     = null
}

variable "detailed_monitoring" {
  description = "Whether CPU is measured every minute rather than every five, for a fee."
  type        = bool
  default     = true
}

variable "tags" {
  description = "More tags for the machines."
  type        = map(string)
  default     = {}
}
