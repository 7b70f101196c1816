//! Places with 32-bit numbers.
//!
//! It grows a chunk at a time, so that no growth moves what is there, and nothing is reserved twofold.

/// "No place".
pub(super) const NONE: u32 = u32::MAX;

const CHUNK: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 10;

/// Values that keep their number until they are removed; numbers of removed ones are used again.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Vec<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T: Default> Slab<T> {
    /// Puts a value somewhere and tells where.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(id) = self.free.pop() {
            *self.get_mut(id) = value;
            return id;
        }
        let id = self.high_water();
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(value),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(value);
                self.chunks.push(chunk);
            }
        }
        id
    }

    /// Takes a value out; its number must be one that [`insert`](Self::insert) gave and is not free.
    pub(super) fn remove(&mut self, id: u32) -> T {
        self.free.push(id);
        std::mem::take(self.get_mut(id))
    }

    /// The value with this number. Of a free number it is a default value.
    pub(super) fn get(&self, id: u32) -> &T {
        &self.chunks[(id >> CHUNK_BITS) as usize][id as usize % CHUNK]
    }

    /// The value with this number, to be changed.
    pub(super) fn get_mut(&mut self, id: u32) -> &mut T {
        &mut self.chunks[(id >> CHUNK_BITS) as usize][id as usize % CHUNK]
    }

    /// The smallest number that was never given out.
    pub(super) fn high_water(&self) -> u32 {
        let last = self.chunks.last().map_or(CHUNK, Vec::len);
        let places = (self.chunks.len() * CHUNK + last).saturating_sub(CHUNK);
        // Four thousand million values do not fit into memory.
        u32::try_from(places).unwrap_or(NONE)
    }

    /// The numbers that were given out once and are free now.
    pub(super) fn free(&self) -> &[u32] {
        &self.free
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.high_water() as usize - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_and_are_used_again() {
        let mut slab = Slab::default();
        assert_eq!((slab.high_water(), slab.len()), (0, 0));
        let ids: Vec<u32> = (0..3000_u32).map(|value| slab.insert(value)).collect();
        assert_eq!(ids, (0..3000).collect::<Vec<_>>());
        assert_eq!(slab.remove(1024), 1024);
        assert_eq!((slab.high_water(), slab.len()), (3000, 2999));
        assert_eq!(slab.free(), [1024]);
        assert_eq!(slab.insert(7), 1024);
        assert_eq!((*slab.get(1024), *slab.get(2999)), (7, 2999));
        assert_eq!(slab.insert(8), 3000);
    }
}
