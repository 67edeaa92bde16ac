"""The networks that ours are measured against, in PyTorch, written from their descriptions.

End2You's shortened speech network (20 and 40 taps inside each step of 40 ms), the paper's speech network with its
convolution done directly, ResNet-50, and both together, each with the paper's recurrent part.
"""

from collections.abc import Callable

import torch
from torch import nn
import torch.nn.functional as F

from data_prep.schema.grid import PAPER

SAMPLES = PAPER.samples_per_step
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'


class ShortenedSpeech(nn.Module):
  """Raw sound [B, T, S] -> features [B, T, 1276], every step by itself."""

  features = 1276

  def __init__(self):
    super().__init__()
    self.conv1 = nn.Conv1d(1, 40, 20, padding=9)
    self.conv2 = nn.Conv1d(40, 40, 40, padding=19)

  def forward(self, x):
    batch, steps, _ = x.shape
    x = F.dropout(x.reshape(batch * steps, 1, SAMPLES), 0.5, self.training)
    x = F.max_pool1d(F.relu(self.conv1(x)), 2, 2, 1)  # [B·T, 40, 320]
    x = F.relu(self.conv2(x))  # [B·T, 40, 319]
    x = x.reshape(batch * steps, x.shape[2], x.shape[1])  # read as [B·T, 319, 40], as the original does
    return F.max_pool1d(x, 10, 10, 4).reshape(batch, steps, -1)


class DirectSpeech(nn.Module):
  """The paper's: [B, T, S] -> [B, T, 1280], 80 and 4000 taps over the whole sequence."""

  features = 1280

  def __init__(self):
    super().__init__()
    self.conv1 = nn.Conv1d(1, 40, 80, padding='same')
    self.conv2 = nn.Conv1d(40, 40, 4000, padding='same')

  def forward(self, x):
    batch, steps, _ = x.shape
    x = F.max_pool1d(F.relu(self.conv1(x.reshape(batch, 1, -1))), 2)  # [B, 40, T·320]
    x = F.relu(self.conv2(x)).reshape(batch, 4, 10, -1).amax(2)  # [B, 4, T·320]
    x = x.transpose(1, 2).reshape(batch, steps, -1)
    return F.dropout(x, 0.5, self.training)


class Unit(nn.Module):
  """A bottleneck of ResNet, version 1; the stride on the 1×1 convolution."""

  def __init__(self, inputs, maps, stride):
    super().__init__()
    conv = lambda i, o, k, s=1: nn.Sequential(nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o))
    self.first, self.second, self.third = conv(inputs, maps, 1, stride), conv(maps, maps, 3), conv(maps, 4 * maps, 1)
    self.shortcut = conv(inputs, 4 * maps, 1, stride) if inputs != 4 * maps or stride > 1 else nn.Identity()

  def forward(self, x):
    return F.relu(self.shortcut(x) + self.third(F.relu(self.second(F.relu(self.first(x))))))


class ResNet50(nn.Module):
  """Frames [B, T, 3, H, W] -> [B, T, 2048]; channels last in memory."""

  features = 2048

  def __init__(self):
    super().__init__()
    layers, inputs = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)], 64
    for stage, count in enumerate((3, 4, 6, 3)):
      for unit in range(count):
        layers.append(Unit(inputs, 64 * 2**stage, 2 if stage and not unit else 1))
        inputs = 256 * 2**stage
    self.layers = nn.Sequential(*layers).to(memory_format=torch.channels_last)

  def forward(self, x):
    frames = x.reshape(-1, *x.shape[2:]).contiguous(memory_format=torch.channels_last)
    return self.layers(frames).mean((2, 3)).reshape(*x.shape[:2], -1)


class BothFeatures(nn.Module):
  """The paper's of sound [B, T, S] and of frames [B, T, 3, H, W], side by side: [B, T, 3328]."""

  features = DirectSpeech.features + ResNet50.features

  def __init__(self):
    super().__init__()
    self.speech, self.visual = DirectSpeech(), ResNet50()

  def forward(self, sound, frames):
    return torch.cat([self.speech(sound), self.visual(frames)], -1)


class Network(nn.Module):
  """Features, two LSTM layers of 256 units and a linear head: arousal and valence [B, T, 2]."""

  def __init__(self, front):
    super().__init__()
    self.front = front
    self.lstm = nn.LSTM(front.features, 256, 2, batch_first=True)
    self.head = nn.Linear(256, 2)

  def forward(self, *inputs):
    return self.head(self.lstm(self.front(*inputs))[0])


def ccc_loss(prediction, target):
  """1 − CCC of each target over batch and steps, their mean."""
  p, t = prediction.reshape(-1, 2), target.reshape(-1, 2)
  covariance = ((p - p.mean(0)) * (t - t.mean(0))).mean(0)
  return (1 - 2 * covariance / (p.var(0, False) + t.var(0, False) + (p.mean(0) - t.mean(0)) ** 2)).mean()


def train_step(front: nn.Module, *inputs, dtype=torch.float32) -> Callable[[], float]:
  """A function that does one whole update: forward, backward, Adam; it returns the loss once all is done."""
  network = Network(front).to(DEVICE)
  optimizer = torch.optim.Adam(network.parameters(), 1e-4)
  inputs = [torch.as_tensor(x, device=DEVICE) for x in inputs]
  target = torch.randn(*inputs[0].shape[:2], 2, device=DEVICE)

  def step():
    optimizer.zero_grad()
    with torch.autocast(DEVICE, dtype, enabled=dtype != torch.float32):
      prediction = network(*inputs)
    loss = ccc_loss(prediction.float(), target)
    loss.backward()
    optimizer.step()
    return loss.item()  # waits for the device

  return step
