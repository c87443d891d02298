# Coordinators: three in three zones, or one. What must outlive an instance
# stands beside it: the network interface whose address every process was given
# in --peers, and the volume with the metadata log, where that is not in the
# bucket. A replaced instance (new binary, new AMI) keeps both.
#
# `terraform apply` never stops a coordinator that runs: with three to replace,
# Terraform would replace all at once. Each is replaced by name, when the others
# are ready:
#
#   terraform apply -replace='module.varve.aws_instance.coordinator["1"]'

locals {
  # By their numbers, as --node-id has them.
  coordinators = { for i in range(var.coordinator_count) : tostring(i + 1) => {
    subnet_id  = local.subnet_ids[i]
    zone       = local.coordinator_zones[i]
    private_ip = try(var.coordinator_private_ips[i], null)
  } }

  # Metadata in the bucket needs no disk.
  coordinator_volumes = var.metalog == "jetstream" ? local.coordinators : {}
}

resource "aws_network_interface" "coordinator" {
  for_each        = local.coordinators
  subnet_id       = each.value.subnet_id
  private_ips     = each.value.private_ip == null ? null : [each.value.private_ip]
  security_groups = [aws_security_group.role["coordinator"].id]
  description     = "Varve coordinator ${each.key} of cluster ${var.name}"
  tags            = merge(local.tags, { Name = "${var.name}-coordinator-${each.key}" })

  lifecycle {
    precondition {
      condition     = length(distinct([for c in values(local.coordinators) : c.zone])) == var.coordinator_count
      error_message = "The first ${var.coordinator_count} of subnet_ids must be in as many zones: the loss of one zone must leave two coordinators."
    }
  }
}

resource "aws_ebs_volume" "coordinator" {
  for_each          = local.coordinator_volumes
  availability_zone = each.value.zone
  type              = "gp3"
  size              = var.coordinator_volume_size_gib
  encrypted         = true
  kms_key_id        = var.kms_key_arn
  tags              = merge(local.tags, { Name = "${var.name}-coordinator-${each.key}-data" })

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_instance" "coordinator" {
  for_each             = local.coordinators
  ami                  = local.ami_id
  instance_type        = var.coordinator_instance_type
  iam_instance_profile = aws_iam_instance_profile.this["coordinator"].name
  user_data_base64     = base64encode(local.user_data["coordinator-${each.key}"])
  tags                 = merge(local.tags, { Name = "${var.name}-coordinator-${each.key}" })

  primary_network_interface {
    network_interface_id = aws_network_interface.coordinator[each.key].id
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    volume_type           = "gp3"
    encrypted             = true
    kms_key_id            = var.kms_key_arn
    delete_on_termination = true
  }

  # An instance whose host fails is moved to another, with its addresses and volumes.
  maintenance_options {
    auto_recovery = "default"
  }

  # What the instance was made from changes when it is replaced, and it is replaced when it is named.
  lifecycle {
    ignore_changes = [ami, user_data_base64]
  }

  depends_on = [aws_iam_role_policy.bucket]
}

resource "aws_volume_attachment" "coordinator" {
  for_each                       = local.coordinator_volumes
  device_name                    = "/dev/sdf"
  instance_id                    = aws_instance.coordinator[each.key].id
  volume_id                      = aws_ebs_volume.coordinator[each.key].id
  stop_instance_before_detaching = true
}

# An operating system that has not answered for three minutes is started again. What systemd can start again, it does.
resource "aws_cloudwatch_metric_alarm" "coordinator" {
  for_each            = local.coordinators
  alarm_name          = "${var.name}-coordinator-${each.key}-unreachable"
  alarm_description   = "Restarts coordinator ${each.key} of Varve cluster ${var.name} when its operating system does not answer."
  namespace           = "AWS/EC2"
  metric_name         = "StatusCheckFailed_Instance"
  dimensions          = { InstanceId = aws_instance.coordinator[each.key].id }
  statistic           = "Minimum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 60
  evaluation_periods  = 3
  alarm_actions       = ["arn:${data.aws_partition.current.partition}:automate:${local.region}:ec2:reboot"]
  tags                = local.tags
}
