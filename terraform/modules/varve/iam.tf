# One role per process, each with the object actions its part of the bucket
# needs. The layout of the bucket:
#
#   cluster.json   identity, and the secret that authenticates internal requests
#   meta/          snapshots and the metadata log
#   chunk/         batches of the durability class object, until they are shipped
#   segment/       what tiering workers wrote
#   probe/         short-lived objects that find out whether conditional writes hold

locals {
  access = {
    coordinator = {
      read   = ["cluster.json", "meta/*", "probe/*"]
      write  = ["cluster.json", "meta/*", "probe/*"]
      delete = ["meta/*", "probe/*"]
    }
    ingest = {
      read   = ["cluster.json", "meta/*", "chunk/*", "segment/*", "probe/*"]
      write  = ["chunk/*", "probe/*"]
      delete = ["probe/*"]
    }
    tiering = {
      read   = ["cluster.json", "meta/*", "chunk/*", "segment/*", "probe/*"]
      write  = ["segment/*", "probe/*"]
      delete = ["chunk/*", "segment/*", "probe/*"]
    }
  }

  binary_object     = try(regex("^s3://([^/]+)/(.+)$", var.varve_binary_url), null)
  binary_object_arn = local.binary_object == null ? [] : ["arn:${data.aws_partition.current.partition}:s3:::${local.binary_object[0]}/${local.binary_object[1]}"]

  # Without the right to list, S3 answers 403 where it means 404, for which a first start waits. Requests on objects
  # carry no prefix, hence IfExists: in a shared bucket a role could list keys (not read objects) outside its prefix
  # by naming no prefix at all.
  list_statement = merge(
    { Sid = "ListKeys", Effect = "Allow", Action = ["s3:ListBucket"], Resource = [local.bucket_arn] },
    local.key_prefix == "" ? {} : { Condition = { StringLikeIfExists = { "s3:prefix" = ["${local.key_prefix}*"] } } },
  )

  policies = { for role, keys in local.access : role => jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        local.list_statement,
        { Sid = "ReadObjects", Effect = "Allow", Action = ["s3:GetObject"], Resource = [for k in keys.read : "${local.bucket_arn}/${local.key_prefix}${k}"] },
        { Sid = "WriteObjects", Effect = "Allow", Action = ["s3:AbortMultipartUpload", "s3:PutObject"], Resource = [for k in keys.write : "${local.bucket_arn}/${local.key_prefix}${k}"] },
        { Sid = "DeleteObjects", Effect = "Allow", Action = ["s3:DeleteObject"], Resource = [for k in keys.delete : "${local.bucket_arn}/${local.key_prefix}${k}"] },
      ],
      [for arn in local.binary_object_arn : { Sid = "FetchBinary", Effect = "Allow", Action = ["s3:GetObject"], Resource = [arn] }],
      [for arn in compact([var.kms_key_arn]) : { Sid = "UseKey", Effect = "Allow", Action = ["kms:Decrypt", "kms:GenerateDataKey"], Resource = [arn] }],
    )
  }) }
}

resource "aws_iam_role" "this" {
  for_each = toset(local.roles)
  name     = "${var.name}-${each.key}-${local.region}"
  tags     = local.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "bucket" {
  for_each = toset(local.roles)
  name     = "bucket"
  role     = aws_iam_role.this[each.key].name
  policy   = local.policies[each.key]
}

resource "aws_iam_role_policy_attachment" "session_manager" {
  for_each   = toset(var.enable_session_manager ? local.roles : [])
  role       = aws_iam_role.this[each.key].name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_instance_profile" "this" {
  for_each = toset(local.roles)
  name     = "${var.name}-${each.key}-${local.region}"
  role     = aws_iam_role.this[each.key].name
  tags     = local.tags
}
