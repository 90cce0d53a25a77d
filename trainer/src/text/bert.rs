//! BERT (Devlin et al. 2019) with Hugging Face's parameter names: the text encoder, and with
//! cross-attention the sentence decoder.

pub use ::checkpoint::prior::BertConfig;

use crate::init::{bert_embedding as embedding, bert_linear as linear};
use tch::{Kind, Tensor, nn};

/// Words in, one vector per token out.
#[derive(Debug)]
pub struct Encoder {
    words: nn::Embedding,
    stack: Stack,
}

impl Encoder {
    pub fn new(p: &nn::Path<'_>, config: &BertConfig) -> Self {
        let words = p / "embeddings" / "word_embeddings";
        Self {
            words: embedding(&words, config.vocab_size, config.hidden_size, Some(PADDING)),
            stack: Stack::new(p, config, false),
        }
    }

    /// `ids [B, T]`, `mask [B, T]` (true = token, false = padding) → `[B, T, H]`
    pub fn forward(&self, ids: &Tensor, mask: &Tensor, train: bool) -> Tensor {
        let attend = mask.unsqueeze(1).unsqueeze(1); // [B, 1, 1, T]
        self.stack.forward(&ids.apply(&self.words), Some(&attend), false, None, train)
    }
}

/// Queries in, one vector per query out, each looking at an image.
#[derive(Debug)]
pub struct Decoder {
    stack: Stack,
    causal: bool,
}

impl Decoder {
    /// `causal` keeps a query from seeing later ones.
    pub fn new(p: &nn::Path<'_>, config: &BertConfig, causal: bool) -> Self {
        Self { stack: Stack::new(p, config, true), causal }
    }

    /// `queries [B, Q, D]`, `image [B, P, D]` → `[B, Q, D]`
    pub fn forward(&self, queries: &Tensor, image: &Tensor, train: bool) -> Tensor {
        self.stack.forward(queries, None, self.causal, Some(image), train)
    }
}

#[derive(Debug)]
struct Stack {
    positions: nn::Embedding,
    types: nn::Embedding,
    norm: nn::LayerNorm,
    layers: Vec<Layer>,
    dropout: f64,
}

#[derive(Debug)]
struct Layer {
    attention: Attention,
    cross: Option<Attention>,
    widen: nn::Linear,
    narrow: nn::Linear,
    norm: nn::LayerNorm,
    dropout: f64,
}

#[derive(Debug)]
struct Attention {
    query: nn::Linear,
    key: nn::Linear,
    value: nn::Linear,
    out: nn::Linear,
    norm: nn::LayerNorm,
    heads: i64,
    weight_dropout: f64,
    dropout: f64,
}

impl Stack {
    fn new(p: &nn::Path<'_>, config: &BertConfig, cross: bool) -> Self {
        let (e, h) = (p / "embeddings", config.hidden_size);
        let layer = |n: i64| Layer::new(&(p / "encoder" / "layer" / n), config, cross);
        Self {
            positions: embedding(
                &(&e / "position_embeddings"),
                config.max_position_embeddings,
                h,
                None,
            ),
            types: embedding(&(&e / "token_type_embeddings"), config.type_vocab_size, h, None),
            norm: layer_norm(&(&e / "LayerNorm"), config),
            layers: (0..config.num_hidden_layers).map(layer).collect(),
            dropout: config.hidden_dropout_prob,
        }
    }

    fn forward(
        &self,
        x: &Tensor,
        attend: Option<&Tensor>,
        causal: bool,
        image: Option<&Tensor>,
        train: bool,
    ) -> Tensor {
        let n = x.size()[1];
        let x = x + self.types.ws.get(0) + self.positions.ws.narrow(0, 0, n);
        let mut x = x.apply(&self.norm).dropout(self.dropout, train);
        for layer in &self.layers {
            x = layer.forward(&x, attend, causal, image, train);
        }
        x
    }
}

impl Layer {
    fn new(p: &nn::Path<'_>, config: &BertConfig, cross: bool) -> Self {
        let (h, wide) = (config.hidden_size, config.intermediate_size);
        Self {
            attention: Attention::new(&(p / "attention"), config),
            cross: cross.then(|| Attention::new(&(p / "crossattention"), config)),
            widen: linear(&(p / "intermediate" / "dense"), h, wide),
            narrow: linear(&(p / "output" / "dense"), wide, h),
            norm: layer_norm(&(p / "output" / "LayerNorm"), config),
            dropout: config.hidden_dropout_prob,
        }
    }

    fn forward(
        &self,
        x: &Tensor,
        attend: Option<&Tensor>,
        causal: bool,
        image: Option<&Tensor>,
        train: bool,
    ) -> Tensor {
        let mut x = self.attention.forward(x, x, attend, causal, train);
        if let (Some(cross), Some(image)) = (&self.cross, image) {
            x = cross.forward(&x, image, None, false, train);
        }
        let y = x.apply(&self.widen).gelu("none").apply(&self.narrow);
        (&x + y.dropout(self.dropout, train)).apply(&self.norm)
    }
}

impl Attention {
    fn new(p: &nn::Path<'_>, config: &BertConfig) -> Self {
        let h = config.hidden_size;
        let part = |name| linear(&(p / "self" / name), h, h);
        Self {
            query: part("query"),
            key: part("key"),
            value: part("value"),
            out: linear(&(p / "output" / "dense"), h, h),
            norm: layer_norm(&(p / "output" / "LayerNorm"), config),
            heads: config.num_attention_heads,
            weight_dropout: config.attention_probs_dropout_prob,
            dropout: config.hidden_dropout_prob,
        }
    }

    /// `x [B, N, H]` looks at `y [B, M, H]`; added to `x` and normalised.
    fn forward(
        &self,
        x: &Tensor,
        y: &Tensor,
        attend: Option<&Tensor>,
        causal: bool,
        train: bool,
    ) -> Tensor {
        let (b, n, h) = x.size3().expect("tokens are [B, N, H]");
        let split = |t: Tensor| t.view([b, -1, self.heads, h / self.heads]).transpose(1, 2);
        let dropout = if train { self.weight_dropout } else { 0.0 };
        let z = Tensor::scaled_dot_product_attention(
            &split(x.apply(&self.query)),
            &split(y.apply(&self.key)),
            &split(y.apply(&self.value)),
            attend,
            dropout,
            causal,
            None,
            false,
        );
        let z = z.transpose(1, 2).reshape([b, n, h]).apply(&self.out);
        (x + z.dropout(self.dropout, train)).apply(&self.norm)
    }
}

/// `pad_token_id` of Hugging Face's BERT, unless its configuration says otherwise.
const PADDING: i64 = 0;

fn layer_norm(p: &nn::Path<'_>, config: &BertConfig) -> nn::LayerNorm {
    let norm = nn::LayerNormConfig { eps: config.layer_norm_eps, ..Default::default() };
    nn::layer_norm(p, vec![config.hidden_size], norm)
}

/// `[B, T]` of true where a token is; from the number of tokens of each row.
pub fn token_mask(lengths: &[i64], width: i64) -> Tensor {
    let at = Tensor::arange(width, (Kind::Int64, tch::Device::Cpu)).unsqueeze(0);
    at.lt_tensor(&Tensor::from_slice(lengths).unsqueeze(1))
}
