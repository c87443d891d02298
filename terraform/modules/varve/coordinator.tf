# One coordinator. What must outlive its instance stands beside it: the volume
# with the metadata log, and the network interface whose address the other roles
# were given. Replacing the instance (new binary, new AMI) keeps both.

resource "aws_ebs_volume" "coordinator" {
  availability_zone = local.coordinator_zone
  type              = "gp3"
  size              = var.coordinator_volume_size_gib
  encrypted         = true
  kms_key_id        = var.kms_key_arn
  tags              = merge(local.tags, { Name = "${var.name}-coordinator-data" })

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_network_interface" "coordinator" {
  subnet_id       = local.subnet_ids[0]
  private_ips     = var.coordinator_private_ip == null ? null : [var.coordinator_private_ip]
  security_groups = [aws_security_group.role["coordinator"].id]
  description     = "Varve coordinator of cluster ${var.name}"
  tags            = merge(local.tags, { Name = "${var.name}-coordinator" })
}

resource "aws_instance" "coordinator" {
  ami                         = local.ami_id
  instance_type               = var.coordinator_instance_type
  iam_instance_profile        = aws_iam_instance_profile.this["coordinator"].name
  user_data_base64            = base64encode(local.user_data["coordinator"])
  user_data_replace_on_change = true
  tags                        = merge(local.tags, { Name = "${var.name}-coordinator" })

  primary_network_interface {
    network_interface_id = aws_network_interface.coordinator.id
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

  # A newer image of the operating system is no reason to stop the sequencer: replace it when it suits.
  lifecycle {
    ignore_changes = [ami]
  }

  depends_on = [aws_iam_role_policy.bucket]
}

resource "aws_volume_attachment" "coordinator" {
  device_name                    = "/dev/sdf"
  instance_id                    = aws_instance.coordinator.id
  volume_id                      = aws_ebs_volume.coordinator.id
  stop_instance_before_detaching = true
}
