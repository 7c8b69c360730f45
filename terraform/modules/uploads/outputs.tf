# The bucket, once it is closed to the public.

output "bucket" {
  description = "Name of the bucket."
  value       = aws_s3_bucket.this.id

  depends_on = [aws_s3_bucket_policy.this, aws_s3_bucket_ownership_controls.this]
}
