# Least privilege: what each role may do, and that it may do it nowhere else.

variables {
  bucket_name         = "test-varve-log"
  bucket_prefix       = "prod/eu"
  varve_binary_url    = "s3://test-artifacts/builds/varve"
  varve_binary_sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
}

run "statements_stay_in_the_prefix" {
  command = plan

  assert {
    condition     = length(aws_iam_role_policy.bucket) == 3 && length(aws_iam_role_policy_attachment.session_manager) == 0
    error_message = "three roles with one inline policy each and no managed one"
  }
  assert {
    condition = alltrue(flatten([for p in values(aws_iam_role_policy.bucket) : [for s in jsondecode(p.policy).Statement : [for r in s.Resource :
      s.Sid == "ListKeys" ? r == "arn:aws:s3:::test-varve-log" :
      s.Sid == "FetchBinary" ? r == "arn:aws:s3:::test-artifacts/builds/varve" && s.Action == ["s3:GetObject"] :
      startswith(r, "arn:aws:s3:::test-varve-log/prod/eu/") && r != "arn:aws:s3:::test-varve-log/prod/eu/*"
    ]]]))
    error_message = "object statements name parts of the prefix; beside them only listing and the binary"
  }
  assert {
    condition     = alltrue(flatten([for p in values(aws_iam_role_policy.bucket) : [for s in jsondecode(p.policy).Statement : [for a in s.Action : !strcontains(a, "*")]]]))
    error_message = "no wildcard among actions"
  }
  assert {
    condition     = alltrue(flatten([for p in values(aws_iam_role_policy.bucket) : [for s in jsondecode(p.policy).Statement : s.Condition.StringLikeIfExists["s3:prefix"] == ["prod/eu/*"] if s.Sid == "ListKeys"]]))
    error_message = "listing is limited to the prefix"
  }
  assert {
    condition     = toset(distinct(flatten([for p in values(aws_iam_role_policy.bucket) : [for s in jsondecode(p.policy).Statement : s.Action]]))) == toset(["s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject"])
    error_message = "these actions and no others"
  }
}

run "roles_differ" {
  command = plan

  assert {
    condition     = alltrue([for p in values(aws_iam_role_policy.bucket) : contains(flatten([for s in jsondecode(p.policy).Statement : s.Resource if s.Sid == "ReadObjects"]), "arn:aws:s3:::test-varve-log/prod/eu/cluster.json")])
    error_message = "every role reads the cluster's identity"
  }
  assert {
    condition     = [for role, p in aws_iam_role_policy.bucket : role if contains(flatten([for s in jsondecode(p.policy).Statement : s.Resource if s.Sid == "WriteObjects"]), "arn:aws:s3:::test-varve-log/prod/eu/meta/*")] == ["coordinator"]
    error_message = "the coordinator alone writes metadata"
  }
  assert {
    condition     = [for role, p in aws_iam_role_policy.bucket : role if contains(flatten([for s in jsondecode(p.policy).Statement : s.Resource if s.Sid == "DeleteObjects"]), "arn:aws:s3:::test-varve-log/prod/eu/segment/*")] == ["tiering"]
    error_message = "tiering workers alone delete segments"
  }
  assert {
    condition     = !contains(flatten([for s in jsondecode(aws_iam_role_policy.bucket["ingest"].policy).Statement : s.Resource if s.Sid == "DeleteObjects"]), "arn:aws:s3:::test-varve-log/prod/eu/chunk/*")
    error_message = "ingest nodes delete no data"
  }
  assert {
    condition     = alltrue([for r in values(aws_iam_role.this) : jsondecode(r.assume_role_policy).Statement[0].Principal.Service == "ec2.amazonaws.com"])
    error_message = "roles are for instances"
  }
}

run "https_binary_needs_no_statement" {
  command = plan

  variables {
    varve_binary_url = "https://downloads.example.org/varve"
  }

  assert {
    condition     = !strcontains(aws_iam_role_policy.bucket["ingest"].policy, "FetchBinary")
    error_message = "no read access is given for a binary that is not in S3"
  }
}

run "kms_key_and_session_manager" {
  command = plan

  variables {
    kms_key_arn            = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
    enable_session_manager = true
  }

  assert {
    condition     = alltrue([for p in values(aws_iam_role_policy.bucket) : [for s in jsondecode(p.policy).Statement : s.Resource if s.Sid == "UseKey"] == [[var.kms_key_arn]]])
    error_message = "roles may use that key and no other"
  }
  assert {
    condition     = alltrue([for v in values(aws_ebs_volume.coordinator) : v.kms_key_id == var.kms_key_arn]) && one(one(aws_s3_bucket_server_side_encryption_configuration.this[0].rule).apply_server_side_encryption_by_default).sse_algorithm == "aws:kms"
    error_message = "bucket and volume are encrypted with the key"
  }
  assert {
    condition     = length(aws_iam_role_policy_attachment.session_manager) == 3
    error_message = "Session Manager's policy is attached where asked for"
  }
}

run "whole_bucket" {
  command = plan

  variables {
    bucket_prefix = ""
  }

  assert {
    condition     = strcontains(aws_iam_role_policy.bucket["ingest"].policy, "arn:aws:s3:::test-varve-log/chunk/*") && !strcontains(aws_iam_role_policy.bucket["ingest"].policy, "s3:prefix")
    error_message = "with no prefix, keys begin at the bucket's root"
  }
  assert {
    condition     = output.bucket == "s3://test-varve-log?region=eu-central-1"
    error_message = "the bucket's URL has no prefix"
  }
}
