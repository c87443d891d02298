# Tiering workers keep nothing: one that is lost costs the job it was at.

resource "aws_launch_template" "tiering" {
  name                   = "${var.name}-tiering"
  image_id               = local.ami_id
  instance_type          = var.tiering_instance_type
  user_data              = base64encode(local.user_data["tiering"])
  vpc_security_group_ids = [aws_security_group.role["tiering"].id]
  update_default_version = true
  tags                   = local.tags

  iam_instance_profile {
    name = aws_iam_instance_profile.this["tiering"].name
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      encrypted             = "true"
      kms_key_id            = var.kms_key_arn
      delete_on_termination = "true"
    }
  }

  tag_specifications {
    resource_type = "instance"
    tags          = merge(local.tags, { Name = "${var.name}-tiering" })
  }

  tag_specifications {
    resource_type = "volume"
    tags          = merge(local.tags, { Name = "${var.name}-tiering" })
  }
}

resource "aws_autoscaling_group" "tiering" {
  name                = "${var.name}-tiering"
  min_size            = var.tiering_count.min
  desired_capacity    = var.tiering_count.desired
  max_size            = var.tiering_count.max
  vpc_zone_identifier = local.subnet_ids
  health_check_type   = "EC2"

  launch_template {
    id      = aws_launch_template.tiering.id
    version = aws_launch_template.tiering.latest_version
  }

  instance_refresh {
    strategy = "Rolling"

    preferences {
      min_healthy_percentage = 0
    }
  }

  dynamic "tag" {
    for_each = local.tags

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = false
    }
  }

  lifecycle {
    ignore_changes = [desired_capacity]
  }

  depends_on = [aws_iam_role_policy.bucket, aws_volume_attachment.coordinator]
}
