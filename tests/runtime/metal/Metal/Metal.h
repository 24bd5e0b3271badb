#pragma once
// What device.mm uses of Metal, likewise.
#import <Foundation/Foundation.h>

#include <cstdint>

struct MTLSize {
    NSUInteger width, height, depth;
};
MTLSize MTLSizeMake(NSUInteger width, NSUInteger height, NSUInteger depth);
enum MTLResourceOptions : NSUInteger { MTLResourceStorageModeShared = 0 };
enum : NSUInteger { MTLResourceUsageRead = 1, MTLResourceUsageWrite = 2 };

@protocol MTLBuffer
- (uint64_t)gpuAddress;
- (void*)contents;
@end
@protocol MTLFunction
@end
@protocol MTLComputePipelineState
@end
@protocol MTLLibrary
- (id<MTLFunction>)newFunctionWithName:(NSString*)name;
@end
@protocol MTLComputeCommandEncoder
- (void)setComputePipelineState:(id<MTLComputePipelineState>)state;
- (void)setBytes:(const void*)bytes length:(NSUInteger)length atIndex:(NSUInteger)index;
- (void)useResource:(id<MTLBuffer>)resource usage:(NSUInteger)usage;
- (void)dispatchThreadgroups:(MTLSize)groups threadsPerThreadgroup:(MTLSize)threads;
- (void)endEncoding;
@end
@protocol MTLCommandBuffer
- (id<MTLComputeCommandEncoder>)computeCommandEncoder;
- (void)commit;
- (void)waitUntilCompleted;
- (NSError*)error;
@end
@protocol MTLCommandQueue
- (id<MTLCommandBuffer>)commandBuffer;
@end
@protocol MTLDevice
- (id<MTLCommandQueue>)newCommandQueue;
- (id<MTLLibrary>)newLibraryWithURL:(NSURL*)url error:(NSError* __autoreleasing*)error;
- (id<MTLComputePipelineState>)newComputePipelineStateWithFunction:(id<MTLFunction>)function
                                                             error:(NSError* __autoreleasing*)error;
- (id<MTLBuffer>)newBufferWithLength:(NSUInteger)length options:(MTLResourceOptions)options;
- (NSString*)name;
- (uint64_t)recommendedMaxWorkingSetSize;
- (NSUInteger)currentAllocatedSize;
- (NSUInteger)maxThreadgroupMemoryLength;
@end
id<MTLDevice> MTLCreateSystemDefaultDevice();
