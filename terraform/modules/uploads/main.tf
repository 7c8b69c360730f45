# The bucket for copies of what users upload, so that a file is there wherever its session goes on. Nothing in it is needed for longer
# than a session lives.

#trivy:ignore:AVD-AWS-0089 Only runners use it, and it holds what they hold anyway
#trivy:ignore:AVD-AWS-0090 Written once and deleted with its session; versions would keep what users had removed
#trivy:ignore:AVD-AWS-0132 S3's own key unless kms_key_arn names another
resource "aws_s3_bucket" "this" {
  #checkov:skip=CKV2_AWS_62:Nobody waits for events of these copies
  #checkov:skip=CKV_AWS_18:Only runners use it, and it holds what they hold anyway; a second bucket for its log would outlive it
  #checkov:skip=CKV_AWS_144:Copies live as long as a session, in the cluster's one region
  #checkov:skip=CKV_AWS_21:Each object is written once and deleted with its session; versions would keep what users had removed
  #checkov:skip=CKV_AWS_145:S3 encrypts with its own key; another one is the user's choice (kms_key_arn)

  bucket        = var.bucket
  force_destroy = true # copies of what sessions had; they are of no use without the cluster
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket = aws_s3_bucket.this.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_policy" "this" {
  bucket = aws_s3_bucket.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "OnlyEncrypted"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = ["arn:${var.partition}:s3:::${var.bucket}", "arn:${var.partition}:s3:::${var.bucket}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })

  depends_on = [aws_s3_bucket_public_access_block.this]
}
