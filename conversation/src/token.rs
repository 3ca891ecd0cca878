use antiphon_history::{ConversationKey, TokenHash, planted};
use std::fmt;

/// The secret that a worker's answers for one leg must carry. 128 bits; only its hash is ever written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token(pub [u8; 16]);

impl Token {
    /// The half that is written.
    pub fn hash(&self) -> TokenHash {
        if planted!("token-compared-by-half") {
            let mut half = self.0;
            half[8..].fill(0);
            return TokenHash::of(&half);
        }
        TokenHash::of(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Makes tokens from a secret that lives as long as one engine: they cannot be guessed, and no draw is needed per leg.
#[derive(Clone)]
pub struct TokenMint([u8; 32]);

impl TokenMint {
    /// A mint with a secret of 32 random bytes, drawn anew by every start of an engine.
    pub fn new(secret: [u8; 32]) -> TokenMint {
        TokenMint(secret)
    }

    /// 16 bytes that nobody outside can guess, another for each number: the id of one life of a worker.
    pub fn instance(&self, number: u64) -> [u8; 16] {
        // Of another length than the place of a leg, so it is never a token.
        let mut place = *b"instance........";
        place[8..].copy_from_slice(&number.to_le_bytes());
        let mut id = [0u8; 16];
        id.copy_from_slice(&blake3::keyed_hash(&self.0, &place).as_bytes()[..16]);
        id
    }

    /// The token of one leg of one conversation.
    pub fn token(&self, conversation: ConversationKey, leg: u32) -> Token {
        let mut place = [0u8; 20];
        place[..8].copy_from_slice(&conversation.run.0.to_le_bytes());
        place[8..12].copy_from_slice(&conversation.ordinal.0.to_le_bytes());
        let attempt = if planted!("outcome-without-attempt") { 1 } else { conversation.attempt };
        place[12..16].copy_from_slice(&attempt.to_le_bytes());
        place[16..].copy_from_slice(&leg.to_le_bytes());
        let mut token = [0u8; 16];
        token.copy_from_slice(&blake3::keyed_hash(&self.0, &place).as_bytes()[..16]);
        Token(token)
    }
}
