# Ingest nodes come and go. Clients find one through the balancer, learn the
# nodes' own addresses from its answer, and from then on talk to those.

resource "aws_launch_template" "ingest" {
  name                   = "${var.name}-ingest"
  image_id               = local.ami_id
  instance_type          = var.ingest_instance_type
  user_data              = base64encode(local.user_data["ingest"])
  vpc_security_group_ids = [aws_security_group.role["ingest"].id]
  update_default_version = true
  tags                   = local.tags

  iam_instance_profile {
    name = aws_iam_instance_profile.this["ingest"].name
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

  block_device_mappings {
    device_name = "/dev/sdf"

    ebs {
      volume_type           = "gp3"
      volume_size           = var.ingest_volume.size_gib
      iops                  = var.ingest_volume.iops
      throughput            = var.ingest_volume.throughput_mib
      encrypted             = "true"
      kms_key_id            = var.kms_key_arn
      delete_on_termination = "true"
    }
  }

  tag_specifications {
    resource_type = "instance"
    tags          = merge(local.tags, { Name = "${var.name}-ingest" })
  }

  tag_specifications {
    resource_type = "volume"
    tags          = merge(local.tags, { Name = "${var.name}-ingest" })
  }
}

resource "aws_autoscaling_group" "ingest" {
  name                = "${var.name}-ingest"
  min_size            = var.ingest_count.min
  desired_capacity    = var.ingest_count.desired
  max_size            = var.ingest_count.max
  vpc_zone_identifier = local.subnet_ids
  target_group_arns   = [aws_lb_target_group.kafka.arn]

  # A node that is not ready gets no new clients from the balancer, and that is all: nodes are also not ready while
  # coordinators are away, and a group that replaced them for it would throw away their disks with what waits there.
  health_check_type = "EC2"

  launch_template {
    id      = aws_launch_template.ingest.id
    version = aws_launch_template.ingest.latest_version
  }

  # New nodes are ready before old ones go: connections move, capacity stays.
  instance_refresh {
    strategy = "Rolling"

    preferences {
      min_healthy_percentage = 100
      max_healthy_percentage = 150
      instance_warmup        = 180 # to be ready: the group itself does not ask
    }
  }

  dynamic "tag" {
    for_each = local.tags

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = false # the launch template tags instances
    }
  }

  # The wanted number belongs to whoever scales the group once it runs.
  lifecycle {
    ignore_changes = [desired_capacity]
  }

  depends_on = [aws_iam_role_policy.bucket, aws_volume_attachment.coordinator]
}

# An instance that is to go waits in Terminating:Wait; it finds that out by itself (varve-drain in files/bootstrap.sh), stops Varve,
# which drains, and is terminated when the time is over. Nothing has to be called for that, so no right and no way out are needed.
resource "aws_autoscaling_lifecycle_hook" "drain" {
  name                   = "drain"
  autoscaling_group_name = aws_autoscaling_group.ingest.name
  lifecycle_transition   = "autoscaling:EC2_INSTANCE_TERMINATING"
  heartbeat_timeout      = var.ingest_drain_seconds + 90
  default_result         = "CONTINUE"
}

resource "aws_lb" "kafka" {
  name                             = "${var.name}-kafka"
  load_balancer_type               = "network"
  internal                         = true
  subnets                          = local.subnet_ids
  security_groups                  = [aws_security_group.role["balancer"].id]
  enable_cross_zone_load_balancing = true
  tags                             = local.tags
}

resource "aws_lb_target_group" "kafka" {
  name                 = "${var.name}-kafka"
  vpc_id               = local.vpc_id
  protocol             = "TCP"
  port                 = local.kafka_port
  target_type          = "instance"
  deregistration_delay = "30"
  tags                 = local.tags

  health_check {
    protocol            = "HTTP"
    port                = tostring(local.http_port)
    path                = "/readyz"
    matcher             = "200"
    interval            = 10
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }
}

resource "aws_lb_listener" "kafka" {
  load_balancer_arn = aws_lb.kafka.arn
  protocol          = "TCP"
  port              = local.kafka_port
  tags              = local.tags

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.kafka.arn
  }
}
