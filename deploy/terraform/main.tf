# The bucket for flares: private, write-only for agents, and a lifecycle per prefix.
# Who may do what stands in ../policies, in the very files that the tests apply.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

locals {
  names = {
    bucket   = var.bucket
    writer   = var.writer_arn
    recovery = var.recovery_arn
  }
  # One bucket has one policy: the statements of both files.
  policies = [
    jsondecode(templatefile("${path.module}/../policies/bucket.json", local.names)),
    jsondecode(templatefile("${path.module}/../policies/aws-only.json", local.names)),
  ]
}

resource "aws_s3_bucket" "flares" {
  bucket = var.bucket
  # Flares are the last copy of somebody's data.
  force_destroy = false
}

resource "aws_s3_bucket_public_access_block" "flares" {
  bucket                  = aws_s3_bucket.flares.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# No ACLs: a PUT with one is refused.
resource "aws_s3_bucket_ownership_controls" "flares" {
  bucket = aws_s3_bucket.flares.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

# SSE-S3 and never SSE-KMS: a key service that is down or denies must not stand
# between an agent and its last resort. What agents store is sealed already.
resource "aws_s3_bucket_server_side_encryption_configuration" "flares" {
  bucket = aws_s3_bucket.flares.id
  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_policy" "flares" {
  bucket = aws_s3_bucket.flares.id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = flatten([for p in local.policies : p.Statement])
  })
  depends_on = [aws_s3_bucket_public_access_block.flares]
}

# A rule per prefix and never one for the whole bucket: that would delete flares
# which nobody recovered yet. lifeline/quarantine/ has no rule: a person empties it.
resource "aws_s3_bucket_lifecycle_configuration" "flares" {
  bucket = aws_s3_bucket.flares.id

  rule {
    id     = "done-markers"
    status = "Enabled"
    filter {
      prefix = "lifeline/done/"
    }
    # Recovery removes old markers itself; this is for those of a recovery that is gone.
    expiration {
      days = var.max_age_days + 2
    }
  }

  dynamic "rule" {
    for_each = var.flares_expire_after_days == null ? [] : [var.flares_expire_after_days]
    content {
      id     = "flares-nobody-recovered"
      status = "Enabled"
      filter {
        prefix = "f/"
      }
      expiration {
        days = rule.value
      }
    }
  }

  lifecycle {
    precondition {
      condition     = var.flares_expire_after_days == null ? true : var.flares_expire_after_days >= max(90, 4 * var.max_age_days + 1)
      error_message = "flares_expire_after_days must be at least 90 and more than four times max_age_days, or null: it deletes data that exists nowhere else."
    }
  }
}

output "bucket_arn" {
  value = aws_s3_bucket.flares.arn
}
