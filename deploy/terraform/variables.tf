variable "bucket" {
  description = "Name of the bucket, as in the configs of agents and recovery."
  type        = string
}

variable "writer_arn" {
  description = "Principal of the agents: the ARN of an IAM user or role. It needs no policy of its own."
  type        = string
}

variable "recovery_arn" {
  description = "Principal of recovery: the ARN of an IAM user or role. It needs no policy of its own."
  type        = string
}

variable "max_age_days" {
  description = "Recovery's max_age, in days, rounded up."
  type        = number
  default     = 14
}

variable "flares_expire_after_days" {
  description = "When flares that nobody recovered are deleted; null for never. At least 90 and more than four times max_age_days."
  type        = number
  default     = null
}
